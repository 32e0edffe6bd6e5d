"""`sweep`: one method at every site, measured on validation pairs; the best site is measured on test pairs once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from das.data.tokenize import Tokenizer
from das.metrics.base import Metric, applicable
from das.objectives.base import Objective
from das.sweeping.cells import Cells
from das.sweeping.choosing import Choice, best_of, choice
from das.sweeping.grid import Cell, Grid, recipe_of
from das.sweeping.journal import Row
from das.tasks.base import Task
from das.training.fit import Fit, fit
from das.training.measure import DEFAULT_METRICS
from das.training.problem import Problem
from das.training.recipe import Method
from das.training.settings import FitSettings
from das.types import Site

log = logging.getLogger("das.sweeping")


@dataclass(frozen=True, repr=False)
class Sweep:
    """What `sweep` returns.

    Attributes:
        rows: one per cell: layer, component, positions, column, text, rank, seed, every metric on validation pairs
            (also under "full_vector/" and "random_subspace/"), train/steps, train/seconds.
        select: what the best cell was picked by.
        best: that cell's row.
        fit: the method fitted again at the best site, measured on the test split beside all controls. It is a run of
            its own: with data.strict=false it is about all rows that have this one site.
        dropped: split (or "file") -> kind of error -> rows that no cell is about: they lack a position of the map, or
            cannot be used at all.
    """

    rows: Sequence[Row]
    select: Choice
    best: Row
    fit: Fit
    dropped: Mapping[str, Mapping[str, int]]

    def __repr__(self) -> str:
        return f"Sweep({len(self.rows)} cells, best {self.best['positions']} at layer {self.best['layer']})"


def sweep(
    model: nn.Module,
    task: Task,
    method: Method,
    grid: Grid | None = None,
    site: Site | None = None,
    *,
    objective: Objective | None = None,
    settings: FitSettings | None = None,
    tokenizer: Tokenizer | None = None,
    metrics: Mapping[str, Metric] | None = None,
    select: str = "iia_changed",
    run_dir: str | Path | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Sweep:
    """Fit a method at every cell of a grid.

    Args:
        model, task, method, objective, settings, tokenizer, metrics, notes: as in `fit`; `full_vector` patches.
        grid: all layers and all token positions by default.
        site: component and heads of the sites; `block_output` by default.
        select: metric on validation pairs that decides which site is the best, by the end of its range that is; ties
            go to the smaller rank, then the first.
        run_dir: finished cells are kept there, and a sweep that was interrupted goes on.

    Raises:
        UnknownChoiceError: none of the metrics that apply reports what is to be selected by.
        CapabilityError: none of the metrics applies.
        RunExistsError: `run_dir` holds cells of something else.
        DasError: other bad input, before any training.
    """
    grid, site, settings = grid or Grid(), site or Site(0), settings or FitSettings()
    metrics = _applicable(metrics or DEFAULT_METRICS, task)
    by = choice(select, metrics)
    problem = Problem(model, task, tokenizer, settings.data, settings.seed)
    recipe = settings.recipe(method, site, False, objective)
    cells = Cells(problem, recipe, grid, site, metrics, progress=settings.trainer.progress)
    rows = cells.run(None if run_dir is None else Path(run_dir))
    best: Row = best_of(rows, by)
    cell = Cell(best["layer"], best["column"], best["positions"], best["rank"], best["seed"])
    chosen = recipe_of(recipe, site, cell)
    log.info("best on validation pairs: %s at layer %s, %s %.3f", cell.positions, cell.layer, select, best[select])
    final = replace(settings, seed=cell.seed, data=replace(settings.data, seed=problem.seed))
    told = {**(notes or {}), "chosen": f"{select} on validation pairs, of {len(rows)} cells"}
    where = None if run_dir is None else Path(run_dir)
    fitted = fit(
        model, task, chosen.method, chosen.sites, objective=recipe.objective, settings=final, tokenizer=tokenizer,
        metrics=metrics, run_dir=where, notes=told,
    )  # fmt: skip
    return Sweep(rows, by, best, fitted, problem.dropped)


def _applicable(metrics: Mapping[str, Metric], task: Task) -> Mapping[str, Metric]:
    """Those that say something of the task's pairs; the others are named in the log."""
    found = applicable(metrics, task.labels)
    if dropped := [name for name in metrics if name not in found]:
        log.warning("left out, because %s has no label set: %s", task.name, ", ".join(dropped))
    return found
