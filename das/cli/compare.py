"""`das compare RUN RUN ...`: finished runs side by side, from their files alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from das.artifacts.storage import CONFIG
from das.cli import build
from das.cli.config import Config
from das.cli.run_folder import METRICS, SUBSPACE, check_out, write_json, write_text
from das.cli.terminal import console, near, say
from das.errors import ConfigError, InputError
from das.training.measure import SWAPPED

#: Column -> key of the metric.
COLUMNS = {
    "test\npairs": "data/test_pairs", "IIA, label\nchanges": "iia_changed",
    "nothing": "control/no_intervention/iia_changed", "full\nvector": "control/full_vector/iia_changed",
    "random": "control/random_subspace/iia_changed",
    "wrong\nsite": "control/wrong_site/iia_changed", "steered\nto +": "steer/to_positive/flipped",
    "steered\nto -": "steer/to_negative/flipped", "perplexity\nx": "steer/perplexity_ratio",
}  # fmt: skip
_NOTHING = "control/no_intervention/iia_changed"
_IIA, _PRICE = "iia_changed", "steer/perplexity_ratio"
_STEERED = ("steer/to_positive/flipped", "steer/to_negative/flipped")
#: Both directions must flip this share before a price is called the best: doing nothing costs nothing.
_STEERS = 0.5

#: One run: where it is, what it is, and its metrics.
Row = dict[str, Any]


def job(cfg: Config) -> None:
    """Read, print, write.

    Raises:
        InputError: a folder without a finished run, or files that cannot be read.
        ConfigError: `out` is neither csv nor json.
    """
    check_out(cfg.out)
    out = None if cfg.out is None else Path(str(cfg.out)).expanduser()
    if out is not None and out.suffix not in (".csv", ".json"):
        raise ConfigError("out must end in .csv or .json", got=str(cfg.out))
    given = build.plain(cfg)["runs"]
    found = [row for one in (given if isinstance(given, list) else [given]) for row in rows_of(Path(str(one)))]
    console().print(table(found))
    for line in notes(found):
        say(console(), line)
    if out is None:
        return
    if out.suffix == ".json":
        write_json(out, found)
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
        write_text(out, text.getvalue())
    say(console(), f"written to {cfg.out}")


def rows_of(folder: Path) -> list[Row]:
    """The run in a folder, or all below it."""
    folder = folder.expanduser()
    runs = [folder] if (folder / METRICS).is_file() else sorted(p.parent for p in folder.glob(f"**/{METRICS}"))
    runs = [run for run in runs if (run / SUBSPACE / CONFIG).is_file()]
    if not runs:
        raise InputError("no finished run here", got=str(folder), remedy="give run folders of das train, or one above")
    return [_row(run) for run in runs]


def _row(run: Path) -> Row:
    try:
        metrics, config = (json.loads(f.read_text("utf-8")) for f in (run / METRICS, run / SUBSPACE / CONFIG))
        site, rest = config["sites"][0], len(config["sites"]) - 1
        where = f"{site['layer']} {site['component']} @ {site['positions']}{f' and {rest} more' if rest else ''}"
        about = {
            "run": str(near(run)), "model": config["base_model"]["name_or_path"], "task": config["task"],
            "method": site["method"], "objective": config["training"].get("objective"), "site": where,
            "rank": site["rank"], "swapped": SWAPPED in metrics,
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError("the run's files cannot be read", got=str(run), remedy=str(error)) from error
    return {**about, **{key: metrics.get(key) for key in COLUMNS.values()}}


def table(found: Sequence[Row]) -> Table:
    """One line per run; the best of a column in bold, with a star."""
    made = Table()
    for name in ("run", "method", "layer, component, positions"):
        made.add_column(name, overflow="fold")
    for name in COLUMNS:
        made.add_column(name, justify="right")
    top = {key: best(found, key) for key in COLUMNS.values()}
    for row in found:
        cells = [_cell(row, key, top[key]) for key in COLUMNS.values()]
        made.add_row(*(escape(str(row[key])) for key in ("run", "method", "site")), *cells)
    return made


def best(found: Sequence[Row], key: str) -> float | None:
    """The best value of a column; None for controls, where nothing was measured that can be ranked, and for runs of
    different models or tasks. What doing nothing reaches too is never the best.
    """
    rows = [row for row in found if row[key] is not None]
    if any(len({row[what] for row in found}) > 1 for what in ("model", "task")):
        return None
    if key == _IIA:
        shown = (row[key] for row in rows if not row["swapped"] and row[key] > (row[_NOTHING] or 0.0))
        return max(shown, default=None)
    if key in _STEERED:
        return max((row[key] for row in rows), default=None)
    if key == _PRICE:
        both = [row for row in rows if all((row[k] or 0.0) >= _STEERS for k in _STEERED)]
        return min((row[key] for row in both), default=None)
    return None


def notes(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table does not say by itself."""
    lines = [
        "* the best of its column" + (" (a price counts where both directions flip half)" if len(found) > 1 else "")
    ]
    if any(row["swapped"] for row in found):
        lines.append(
            "~ reads no source: IIA swaps its coordinates, which it never does itself; rank it by its steering"
        )
    for what in ("model", "task"):
        if len(values := dict.fromkeys(str(row[what]) for row in found)) > 1:
            lines.append(f"these runs differ in their {what}, so their numbers do not compare: {', '.join(values)}")
    return lines


def _cell(row: Mapping[str, Any], key: str, top: float | None) -> str:
    value = row[key]
    if value is None:
        return "-"
    swapped = row["swapped"] and "iia" in key
    text = str(value) if isinstance(value, int) else f"{value:.3f}{'~' if swapped else ''}"
    return f"[bold]{text}*[/bold]" if value == top and not swapped else text
