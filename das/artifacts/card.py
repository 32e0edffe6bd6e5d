"""The card of an artifact: a README.md for people, made from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = (
    ("iia_changed", "this subspace, pairs whose label changes"),
    ("iia_unchanged", "this subspace, pairs whose label stays"),
    ("control/no_intervention/iia_changed", "no intervention"),
    ("control/random_subspace/iia_changed", "random subspace of equal rank"),
    ("control/full_vector/iia_changed", "full-vector swap"),
    ("control/wrong_site/iia_changed", "trained at the wrong site"),
    ("control/shuffled_labels/iia_changed", "trained on shuffled labels"),
)


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
        method = site["intervention"]["method"]
        lines.append(f"| {where} | {site['positions']} | {site['width']} | {site['rank']} | {method} |")
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
    rows = [f"| {label} | {metrics[key]:.3f} |" for key, label in _SHOWN if isinstance(metrics.get(key), float)]
    return ["| interchange intervention accuracy on held-out entities | |", "|---|--:|", *rows, ""] if rows else []


def _factors(sites: list[Mapping[str, Any]]) -> list[str]:
    known = [s["factors"] for s in sites if s["factors"] is not None]
    if not known:
        return []
    f = known[0]
    text = (
        f"Factor +1 clamps to the mean coordinates of {f['positive_label'].strip()!r}, -1 to those of "
        f"{f['negative_label'].strip()!r} ({f['count']} prompts each; the means are {f['gap']:.1f} pooled "
        "standard deviations apart)."
    )
    return [text, ""]
