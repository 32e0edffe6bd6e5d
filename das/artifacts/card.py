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
    lines += ["", *_metrics(config["metrics"]), *_steering(sites), "## Use", "", "```python", "import das", ""]
    lines += [
        f"model = das.load_model({model['name_or_path']!r})",
        'subspace = das.Subspace.load("this-folder", model)',
    ]
    factor = "" if _takes(sites[0]) == "none" else ", factor=1"
    lines += [f"with das.steer(model, subspace{factor}) as steering:", '    steering.generate(["..."])', "```", ""]
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


def _steering(sites: list[Mapping[str, Any]]) -> list[str]:
    """What its default operation does, and what a factor means there."""
    how = sites[0]["steers_by"]
    if how is None:
        return ["It does not steer: it puts other activations in place.", ""]
    if how["edit"] == "Clamp":
        known = [s["factors"] for s in sites if s["factors"] is not None]
        return [_clamping(known[0]), ""] if known else []
    if _takes(sites[0]) == "none":
        does = "sets its coordinates to zero" if how["edit"] == "Zero" else "does what it was made to do"
        return [f"It {does}, and takes no factor: there is no other direction.", ""]
    return [f"It {how['told']}.", ""]


def _takes(site: Mapping[str, Any]) -> str:
    how = site["steers_by"]
    return "none" if how is None else str(how["factor"])


def _clamping(f: Mapping[str, Any]) -> str:
    return (
        f"Clamping with factor +1 sets the mean coordinates of {f['positive_label'].strip()!r}, -1 those of "
        f"{f['negative_label'].strip()!r} ({f['count']} prompts each; the means are {f['gap']:.1f} pooled "
        "standard deviations apart)."
    )
