"""`das sweep`: a map of layers and token positions, and the best site's subspace, in one run folder.

DIR/cells.jsonl      every cell as it is finished: an interrupted sweep goes on from there
DIR/cells.parquet    the same as one tidy table
DIR/heatmap.png      the map, beside patching and a random subspace
DIR/metrics.json     the best site on test pairs, beside all controls; written last
DIR/subspace/        the best site's
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.markup import escape
from rich.table import Table

from das.cli import build
from das.cli.config import Config
from das.cli.recorded import notes
from das.cli.report import print_run
from das.cli.run_folder import METRICS, SUBSPACE, write_json
from das.cli.runs import Begun, carried_out, in_folder
from das.cli.terminal import console, say
from das.cli.tracking import record
from das.sweeping.cells import FULL, RANDOM
from das.sweeping.grid import Grid
from das.sweeping.heatmap import draw
from das.sweeping.sweep import Sweep, sweep

TABLE, PICTURE = "cells.parquet", "heatmap.png"


def job(cfg: Config) -> float:
    """Sweep, write and print; returns the metric selected by, on validation pairs.

    Raises:
        RunExistsError: the folder holds a finished sweep or one with other settings.
        Interrupted: Ctrl-C after the folder was begun.
        DasError: anything else that is wrong, before weights are loaded where that is possible.
    """
    grid: Grid = build.make(cfg.grid, "grid")
    with in_folder(cfg) as folder:
        (swept, measured, parts), hint = carried_out(cfg, folder, lambda begun: _run(cfg, grid, begun))
    _report(swept)
    print_run(measured, folder, parts.task, parts.steering.factor, None, hint)
    say(console(), f"the map is {folder / PICTURE}, the numbers are in {folder / TABLE}")
    return float(swept.best[swept.select.name])


def _run(cfg: Config, grid: Grid, begun: Begun) -> tuple[Sweep, dict[str, Any], build.Parts]:
    """The sweep, and what goes into metrics.json."""
    folder, parts = begun.folder, begun.parts
    [site] = {(s.component, s.heads, s.side): s for s in parts.sites}.values()
    swept = sweep(
        begun.model, parts.task, parts.method, grid, site, objective=parts.objective, settings=parts.settings,
        metrics=parts.metrics, select=str(cfg.select), run_dir=folder, notes=notes(cfg, begun.chosen),
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(list(swept.rows)), folder / TABLE)
    draw(swept, folder / PICTURE)
    saved = swept.fit.subspace.save(folder / SUBSPACE, overwrite=True)
    best = {f"sweep/best/{key}": swept.best[key] for key in ("layer", "positions", "text", "rank", "seed")}
    dropped = {f"sweep/dropped/{split}/{why}": n for split, each in swept.dropped.items() for why, n in each.items()}
    measured = {
        **swept.fit.metrics,
        **best,
        **dropped,
        "sweep/cells": len(swept.rows),
        "sweep/select": swept.select.name,
    }
    write_json(folder / METRICS, measured)
    record(begun.logger, measured, saved, ())
    return swept, measured, parts


def _report(swept: Sweep) -> None:
    """Every layer's best position."""
    table = Table(title=f"{swept.select.name} on validation pairs: the best position of every layer")
    for name in ("layer", "position", "token", "learned", "whole vector", "random"):
        table.add_column(name, justify="left" if name in ("position", "token") else "right")
    for layer in sorted({row["layer"] for row in swept.rows}):
        best = max((r for r in swept.rows if r["layer"] == layer), key=swept.select.value)
        numbers = [best.get(f"{prefix}{swept.select.name}") for prefix in ("", f"{FULL}/", f"{RANDOM}/")]
        style = "bold" if best is swept.best else None
        table.add_row(str(layer), best["positions"], escape(best["text"]), *_texts(numbers), style=style)
    console().print(table)


def _texts(numbers: Sequence[float | None]) -> list[str]:
    return ["" if n is None else f"{n:.3f}" for n in numbers]
