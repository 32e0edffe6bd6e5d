"""What the commands print: tables for people, the same numbers that go into the JSON files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from das.cli.doubts import counted, doubts, percent
from das.cli.program import program
from das.cli.steering import NOT_MEASURED as NOT_STEERED
from das.cli.steering import RANDOM
from das.cli.terminal import console, say
from das.tasks.base import ConceptTask, Task
from das.training.controls.base import control, names
from das.training.measure import NOT_MEASURED, SWAPPED

#: Column -> what follows the row's prefix in a metric's name.
_COLUMNS = {
    "iia": "iia", "label changes": "iia_changed", "label stays": "iia_unchanged",
    "label changes,\nfull vocabulary": "iia_full_vocab_changed",
}  # fmt: skip
#: Below this share of flipped words, steering is said to have little effect.
_LITTLE = 0.5


def rows() -> list[tuple[str, str]]:
    """Title and key prefix of every row of a table of metrics."""
    return [("this subspace", ""), *((control(name).title, f"control/{name}/") for name in names())]


def print_run(
    metrics: Mapping[str, Any],
    folder: Path,
    task: Task,
    factor: float,
    number: int | None = None,
    hint: str | None = None,
) -> None:
    """The result of a training; `factor` is the one whose steering was measured."""
    out = console()
    title = f"{task.name}: interchange intervention accuracy on held-out entities"
    title = title if number is None else f"job {number}: {title}"
    _print_numbers(out, metrics, task, factor, title, bool(metrics.get("train/steps")))
    say(out, f"saved in {folder}")
    if "steer/perplexity_ratio" in metrics:
        say(out, f"steer with it: {steer_command(folder, task)}")
    if hint is not None:
        say(out, hint)


def print_evaluation(metrics: Mapping[str, Any], task: Task, factor: float, learned: bool) -> None:
    """The result of `das eval`: the table, then every number under its key; `learned` unless in closed form."""
    out = console()
    title = f"{task.name}: interchange intervention accuracy on held-out entities"
    _print_numbers(out, metrics, task, factor, title, learned)
    for key in sorted(metrics):
        say(out, f"{key:<42} {_text(metrics[key])}")


def steer_command(folder: Path, task: Task) -> str:
    """A command that works as it is printed: with a prompt of the task, which the model knows how to continue."""
    prompt = "..."
    if isinstance(task, ConceptTask):
        prompt = next((p.text for p, label in task.prompts("test", 8, 0) if label == task.negative), prompt)
    return f"{program()} steer {shlex.quote(f'subspace={folder}')} factor=+1 prompt={shlex.quote(prompt)}"


def iia_table(metrics: Mapping[str, Any]) -> Table:
    """IIA, on pairs whose label changes and on pairs whose label stays, beside every control; dashes if left out."""
    table = Table()
    table.add_column("")
    columns = {name: key for name, key in _COLUMNS.items() if key in metrics}
    for name in columns:
        table.add_column(name, justify="right")
    for label, prefix in rows():
        if any(f"{prefix}{key}" in metrics for key in (*columns.values(), "not_measured")):
            values = (metrics.get(f"{prefix}{key}") for key in columns.values())
            where = metrics.get("control/wrong_site/positions") if prefix.endswith("wrong_site/") else None
            table.add_row(
                f"{label} ({where})" if where else label, *map(_text, values), style=None if prefix else "bold"
            )
    return table


def facts(metrics: Mapping[str, Any]) -> str:
    """One line: what the model does on its own, length of the training, engine tier."""
    found = []
    if "model/accuracy" in metrics:
        right = f"the right one of ({metrics['data/labels']})"
        wrong = metrics.get("data/dropped/test/model")  # with data.filter_correct
        kept = metrics.get("data/test_pairs", 0)
        filtered = "" if wrong is None else f", after {wrong} of {wrong + kept} were dropped because it does not"
        found.append(
            f"the model alone prefers {right} in {100 * metrics['model/accuracy']:.1f} % of the pairs{filtered}"
        )
    if metrics.get("train/steps"):  # none in closed form
        found.append(f"{metrics['train/steps']} steps in {_text(metrics.get('train/seconds'))} s")
    if "data/train_prompts_fitted" in metrics:
        found.append(f"estimated from {metrics['data/train_prompts_fitted']} prompts")
    if metrics.get("engine/tier"):
        found.append(f"engine tier {metrics['engine/tier']}")
    return "; ".join(found)


def summary(metrics: Mapping[str, Any], learned: bool = True) -> list[str]:
    """What the table says, in words; `learned` by training, rather than in closed form."""
    told = {
        "": "this subspace",
        "control/full_vector/": "the full-vector swap",
        "control/random_subspace/": "random directions",
        "control/no_intervention/": "nothing at all",
    }
    shares = {
        name: metrics[f"{prefix}iia_changed"] for prefix, name in told.items() if f"{prefix}iia_changed" in metrics
    }
    lines = []
    if "this subspace" in shares:
        flips = ", ".join(f"{percent(share)} by {name}" for name, share in shares.items())
        lines.append(f"flipped, of the pairs whose label changes: {flips}")
    lines += counted(metrics)
    if "control/shuffled_labels/iia_changed" in metrics and learned:
        lines.append(
            "shuffled labels is a floor to beat, not a zero: labels that cannot be predicted still reward moving along "
            "the direction that decides"
        )
    lines += doubts(metrics, shares)
    wrong, right = (metrics.get(f"{prefix}iia_changed", 0.0) for prefix in ("control/wrong_site/", ""))
    if wrong >= max(right, _LITTLE):
        where = metrics.get("control/wrong_site/positions")
        lines.append(
            f"the wrong site ({where}) flips {percent(wrong)}: this layer also keeps what decides there, so it is no "
            "control; give controls.wrong_positions, or train there"
        )
    left_out = {label: metrics.get(f"{prefix}not_measured") for label, prefix in rows() if prefix}
    left_out |= {f"metric {m.split('/')[1]}": metrics[m] for m in metrics if m.startswith("metric/")}
    return [*lines, *(f"left out: {label}: {reason}" for label, reason in left_out.items() if reason is not None)]


def steering_lines(metrics: Mapping[str, Any], task: Task, factor: float) -> list[str]:
    """One line per direction, with a remark where little happens; or why there is none."""
    if NOT_STEERED in metrics:
        return [f"steering not measured: {metrics[NOT_STEERED]}"]
    if not isinstance(task, ConceptTask):
        return []
    lines = []
    for value, label in (("positive", task.positive), ("negative", task.negative)):
        flipped = metrics.get(f"steer/to_{value}/flipped")
        if flipped is None:
            continue
        before, words = metrics[f"steer/to_{value}/unsteered"], metrics[f"steer/to_{value}/words"]
        beside = metrics.get(f"control/random_subspace/steer/to_{value}/flipped")
        drawn = "" if beside is None else f", random directions {percent(beside)}"
        lines.append(
            f"steered towards {label.strip()!r}: {percent(flipped)} of {words:.0f} concept words show it "
            f"(unsteered {percent(before)}{drawn}), "
            f"perplexity x {metrics[f'steer/to_{value}/perplexity_ratio']:.2f}"
        )
        if flipped < _LITTLE:
            lines.append(f"steering towards {label.strip()!r} has little effect at factor {factor:g}")
    if (reason := metrics.get(f"control/{RANDOM}/{NOT_STEERED}")) is not None:
        lines.append(f"left out: steering along random directions: {reason}")
    return lines


def _print_numbers(
    out: Console, metrics: Mapping[str, Any], task: Task, factor: float, title: str, learned: bool
) -> None:
    """What steers comes first where nothing was learned by swapping."""
    steered = [facts(metrics), *steering_lines(metrics, task, factor)]
    if SWAPPED in metrics:
        for line in (*steered, ""):
            say(out, line)
    say(out, title)
    if NOT_MEASURED in metrics:
        say(out, f"not measured: {metrics[NOT_MEASURED]}")
    else:
        out.print(iia_table(metrics))
    if SWAPPED in metrics:
        say(out, f"({metrics[SWAPPED]})")
    for line in (*summary(metrics, learned), *(() if SWAPPED in metrics else steered)):
        say(out, line)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
