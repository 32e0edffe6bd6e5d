"""`das sweep`: a map of layers and token positions, and the best site's subspace, in one run folder.

DIR/cells.jsonl      every cell as it is finished: an interrupted sweep goes on from there
DIR/cells.parquet    the same as one tidy table
DIR/heatmap.png      the map, beside patching and a random subspace
DIR/metrics.json     the best site on test pairs, beside all controls; written last
DIR/subspace/        the best site's
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from rich.markup import escape
from rich.table import Table

from das.cli import build
from das.cli.checks import check
from das.cli.config import Config
from das.cli.interrupted import Interrupted
from das.cli.progress import narrated
from das.cli.quiet import quiet
from das.cli.recorded import notes
from das.cli.report import print_run
from das.cli.run_folder import CONFIG, METRICS, SUBSPACE, claim, remove_if_empty, write_json, write_text
from das.cli.terminal import console, say
from das.cli.tracking import finish, record, start
from das.sweeping.cells import FULL, RANDOM
from das.sweeping.grid import Grid
from das.sweeping.heatmap import draw
from das.sweeping.sweep import Sweep, sweep

log = logging.getLogger("das.cli")

TABLE, PICTURE = "cells.parquet", "heatmap.png"


def job(cfg: Config) -> float:
    """Sweep, write and print; returns the metric selected by, on validation pairs.

    Raises:
        RunExistsError: the folder holds a finished sweep or one with other settings.
        Interrupted: Ctrl-C after the folder was begun.
        DasError: anything else that is wrong, before weights are loaded where that is possible.
    """
    quiet()
    folder = Path(str(cfg.run_dir))
    try:
        with narrated():
            swept = _run(cfg, folder)
    except KeyboardInterrupt as error:
        remove_if_empty(folder)
        if not (folder / CONFIG).is_file():
            raise
        raise Interrupted(folder) from error
    except Exception:
        remove_if_empty(folder)
        raise
    return float(swept.best[swept.select])


def _run(cfg: Config, folder: Path) -> Sweep:
    resolved = build.plain(cfg)
    goes_on = claim(folder, resolved)
    parts, chosen = build.parts(cfg), build.ModelSettings.of(cfg.model)
    grid: Grid = build.make(cfg.grid, "grid")
    [site] = {(s.component, s.heads, s.side): s for s in parts.sites}.values()
    check(parts, chosen)
    say(console(), f"run folder: {folder}{' (goes on with what was interrupted)' if goes_on else ''}")
    logger = start(cfg, resolved)
    try:
        log.info("loading model %s", chosen.path)
        model = build.model(chosen)
        write_text(folder / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))
        swept = sweep(
            model, parts.task, parts.method, grid, site, objective=parts.objective, settings=parts.settings,
            metrics=parts.metrics, select=str(cfg.select), run_dir=folder, notes=notes(cfg, chosen),
        )  # fmt: skip
        pq.write_table(pa.Table.from_pylist(list(swept.rows)), folder / TABLE)
        draw(swept, folder / PICTURE)
        saved = swept.fit.subspace.save(folder / SUBSPACE, overwrite=True)
        best = {f"sweep/best/{key}": swept.best[key] for key in ("layer", "positions", "text", "rank", "seed")}
        measured = {**swept.fit.metrics, **best, "sweep/cells": len(swept.rows), "sweep/select": swept.select}
        write_json(folder / METRICS, measured)
        record(logger, measured, saved, ())
    except BaseException:
        finish(logger, ok=False)
        raise
    _report(swept, folder)
    print_run(measured, folder, parts.task, parts.steering.factor, None, finish(logger, ok=True))
    say(console(), f"the map is {folder / PICTURE}, the numbers are in {folder / TABLE}")
    return swept


def _report(swept: Sweep, folder: Path) -> None:
    """Every layer's best position."""
    table = Table(title=f"{swept.select} on validation pairs: the best position of every layer")
    for name in ("layer", "position", "token", "learned", "whole vector", "random"):
        table.add_column(name, justify="left" if name in ("position", "token") else "right")
    for layer in sorted({row["layer"] for row in swept.rows}):
        best = max((r for r in swept.rows if r["layer"] == layer), key=lambda r: r.get(swept.select) or 0.0)
        numbers = [best.get(f"{prefix}{swept.select}") for prefix in ("", f"{FULL}/", f"{RANDOM}/")]
        style = "bold" if best is swept.best else None
        table.add_row(str(layer), best["positions"], escape(best["text"]), *_texts(numbers), style=style)
    console().print(table)


def _texts(numbers: Sequence[float | None]) -> list[str]:
    return ["" if n is None else f"{n:.3f}" for n in numbers]
