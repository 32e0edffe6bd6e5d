"""The card of an artifact: a README.md for people, made from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card(config: Mapping[str, Any]) -> str:
    """Markdown with where the subspace lives, how well it does beside its controls, and how to use it."""
    model, sites = config["base_model"], config["sites"]
    lines = [
        "---",
        "library_name: das",
        f"base_model: {model['name_or_path']}",
        "tags: [das, steering-vectors]",
        "---",
        "",
    ]
    lines += [f"# A das subspace for `{model['name_or_path']}`", "", "| site | positions | width | rank | method |"]
    lines += ["|---|---|--:|--:|---|"]
    for site in sites:
        where = f"layer {site['layer']} {site['component']}"
        lines.append(f"| {where} | {site['positions']} | {site['width']} | {site['rank']} | {site['method']} |")
    lines += ["", *_metrics(config["metrics"]), *_factors(sites), "## Use", "", "```python", "import das", ""]
    lines += [
        f"model = das.load_model({model['name_or_path']!r})",
        'subspace = das.Subspace.load("this-folder", model)',
    ]
    lines += ["with das.steer(model, subspace, factor=1) as steering:", '    steering.generate(["..."])', "```", ""]
    if command := config["training"].get("command"):
        lines += ["Trained by", "", "```", command, "```", ""]
    return "\n".join(lines)


def _metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Every metric on pairs whose label changes, beside its controls."""
    rows = []
    for key, value in sorted(metrics.items(), key=lambda item: item[0].startswith("control/")):
        if key.endswith("_changed") and isinstance(value, float) and not key.startswith("val/"):
            prefix, _, name = key.rpartition("/")
            who = prefix.removeprefix("control/").replace("_", " ") if prefix else "this subspace"
            rows.append(f"| {who} | {name} | {value:.3f} |")
    return ["| held-out entities, pairs whose label changes | | |", "|---|---|--:|", *rows, ""] if rows else []


def _factors(sites: list[Mapping[str, Any]]) -> list[str]:
    known = [s["factors"] for s in sites if s["factors"] is not None]
    if not known:
        return []
    f = known[0]
    text = (
        f"Clamping with factor +1 sets the mean coordinates of {f['positive_label'].strip()!r}, -1 those of "
        f"{f['negative_label'].strip()!r} ({f['count']} prompts each; the means are {f['gap']:.1f} pooled "
        "standard deviations apart)."
    )
    return [text, ""]
