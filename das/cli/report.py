"""What the commands print: tables for people, the same numbers that go into the JSON files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from das.tasks.base import ConceptTask, Task
from das.training.controls.base import control, names


def rows() -> list[tuple[str, str]]:
    """Title and key prefix of every row of a table of metrics."""
    return [("this subspace", ""), *((control(name).title, f"control/{name}/") for name in names())]


def console() -> Console:
    """Where results are printed; at least 100 columns where nobody looks, so that files keep whole lines."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=120)


def print_run(metrics: Mapping[str, Any], folder: Path, task: Task, number: int | None = None) -> None:
    """The result of a training."""
    out = console()
    title = f"{task.name}: interchange intervention accuracy on held-out entities"
    out.print(iia_table(metrics, title if number is None else f"job {number}: {title}"))
    say(out, facts(metrics))
    for line in steering_lines(metrics, task):
        say(out, line)
    say(out, f"saved in {folder}")
    if "steer/perplexity_ratio" in metrics:
        say(out, f'steer with it: das steer subspace={folder} prompt="..." factor=+1')


def print_evaluation(metrics: Mapping[str, Any], task: Task, out_file: str | None) -> None:
    """The result of `das eval`."""
    out = console()
    out.print(iia_table(metrics, f"{task.name}: interchange intervention accuracy on held-out entities"))
    say(out, facts(metrics))
    for line in steering_lines(metrics, task):
        say(out, line)
    for key in sorted(metrics):
        say(out, f"{key:<42} {_text(metrics[key])}")
    if out_file:
        say(out, f"written to {out_file}")


def iia_table(metrics: Mapping[str, Any], title: str) -> Table:
    """IIA, on pairs whose label changes and on pairs whose label stays, beside every control."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("iia", "label changes", "label stays"):
        table.add_column(name, justify="right")
    for label, prefix in rows():
        if f"{prefix}iia" in metrics:
            values = (metrics.get(f"{prefix}iia{part}") for part in ("", "_changed", "_unchanged"))
            where = metrics.get("control/wrong_site/positions") if prefix.endswith("wrong_site/") else None
            table.add_row(
                f"{label} ({where})" if where else label, *map(_text, values), style=None if prefix else "bold"
            )
    return table


def facts(metrics: Mapping[str, Any]) -> str:
    """One line: what the model does on its own, engine tier, length of the training."""
    found = []
    if "model/accuracy" in metrics:
        found.append(f"the model alone answers {metrics['model/accuracy']:.1%} of the pairs correctly")
    if metrics.get("train/steps") is not None:
        found.append(f"{metrics['train/steps']} steps in {_text(metrics.get('train/seconds'))} s")
    if "engine/tier" in metrics:
        found.append(f"engine tier {metrics['engine/tier']}")
    return "; ".join(found)


def steering_lines(metrics: Mapping[str, Any], task: Task) -> list[str]:
    """One line per direction."""
    if not isinstance(task, ConceptTask):
        return []
    lines = []
    for value, label in (("positive", task.positive), ("negative", task.negative)):
        flipped = metrics.get(f"steer/to_{value}/flipped")
        if flipped is not None:
            before, words = metrics[f"steer/to_{value}/unsteered"], metrics[f"steer/to_{value}/words"]
            lines.append(
                f"steered towards {label.strip()!r}: {_percent(flipped)} of {words:.0f} words of the concept "
                f"(unsteered {_percent(before)}), perplexity x {metrics[f'steer/to_{value}/perplexity_ratio']:.2f}"
            )
    return lines


def say(out: Console, text: str) -> None:
    """Plain text: brackets, paths and prompts come out as they are."""
    out.print(text, markup=False, emoji=False, soft_wrap=True)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    """A share; a dash where there was nothing to count."""
    return "-" if math.isnan(share) else f"{share:.0%}"
