"""The cells of a sweep: placed, trained, measured on validation pairs, beside their controls.

One recording of the training pairs and one of the validation pairs serve all cells, so all are about the same rows:
those that have every position of the map. With data.strict=false the others are left out of every cell alike and
counted; otherwise they are an error, before anything is recorded. Beside each cell stand the swap of the whole
activation there (activation patching: no subspace of the site can do better by much) and a random subspace of equal
rank.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import final

from rich.progress import Progress

from das.data.dataset import PairDataset
from das.data.placing import where_of
from das.data.tokenize import EncodedPrompt
from das.engine.engine import Engine
from das.engine.recording import Recording
from das.engine.tiers import Prepared
from das.errors import CapabilityError, EngineError
from das.interventions.sets import InterventionSet, Placement
from das.methods.full_vector import full_vector
from das.metrics.base import Metric, runs_of
from das.objectives.base import Needs
from das.sweeping.columns import Column, all_columns, described
from das.sweeping.grid import Cell, Grid, recipe_of
from das.sweeping.journal import CELLS, Journal, Row
from das.sweeping.trials import Trial, grouped, trained
from das.training.claim import claim, facts
from das.training.controls.random_subspace import random_interchange
from das.training.evaluate import evaluate
from das.training.interchange import interchange_of
from das.training.learn import check_trainable
from das.training.loop import prepared
from das.training.optim import AdamW
from das.training.problem import Problem
from das.training.recipe import Recipe
from das.types import Site

log = logging.getLogger("das.sweeping")

FULL, RANDOM = "full_vector", "random_subspace"

#: What a folder's cells are cells of.
CLAIM = "cells.json"


@final
class Cells:
    """Data, recordings and controls that all cells share."""

    def __init__(
        self, problem: Problem, recipe: Recipe, grid: Grid, site: Site, metrics: Mapping[str, Metric], progress: bool
    ) -> None:
        self.problem, self.recipe, self.site, self.metrics, self.progress = problem, recipe, site, metrics, progress
        layers = grid.depths(problem.view.n_layers)
        first = replace(recipe, sites=(replace(site, layer=layers[0], positions="last", source_positions=None),))
        self.first = placed = first.place(problem)
        self.needs = recipe.minimised(placed).needs if placed.learned else Needs()
        self.train = problem.dataset("train", placed, self.needs)
        swapped = interchange_of(placed)
        self.val = problem.dataset("val", swapped)
        if placed.learned:
            check_trainable(placed, self.needs, self.train)
        self.columns = self._columns(grid, placed, swapped)
        self.cells = list(grid.cells(layers, self.columns))
        at = [replace(site, layer=layer, positions="last", source_positions=None) for layer in layers]
        for where in at:
            problem.view.bind(where)  # says at once which layer does not exist
        budget = int(recipe.trainer.budget_gib * (1 << 30))
        kept = self._record(self.train, at, placed.sources, self.needs, budget) if placed.learned else None
        budget -= 0 if kept is None else kept.nbytes
        measuring = self._record(self.val, at, swapped.sources, Needs(runs=runs_of(metrics)), budget)
        self._recordings = {"train": kept, "val": measuring}
        together = recipe.trainer.devices == 1 and isinstance(recipe.optimizer, AdamW)  # which is elementwise
        self._joint = kept is not None and together
        self._controls: dict[tuple[int | None, str, int], Row] = {}

    def run(self, folder: Path | None) -> list[Row]:
        """All cells; what `folder` has is not done again, and what is finished is written there at once.

        Raises:
            RunExistsError: the folder has cells of something else.
            InputError: it has a file of cells that cannot be read.
        """
        if folder is not None:
            self._claim(folder)
        journal = Journal(None if folder is None else folder / CELLS)
        missing = [cell for cell in self.cells if journal.of(cell) is None]
        with Progress(transient=True, disable=not self.progress) as bar:
            told = bar.add_task("sites", total=len(self.cells), completed=len(self.cells) - len(missing))
            for group in self._groups(missing):
                for row in self._measured(group):
                    log.info("layer %s, %s: %s", row["layer"], row["positions"], _short(row))
                    journal.add(row)
                    bar.advance(told)
        return [found for cell in self.cells if (found := journal.of(cell)) is not None]

    def _claim(self, folder: Path) -> None:
        measured = {"metrics": sorted(self.metrics), "validation": self.val.fingerprint}
        claim(folder / CLAIM, {**facts(self.problem, self.recipe, self.first, self.train), **measured})

    def _groups(self, cells: Sequence[Cell]) -> Iterator[list[Trial]]:
        """Placed cells that are trained in one pass, of one layer; one by one where each reads the data for itself."""
        if not self._joint:
            yield from ([self._trial(cell)] for cell in cells)
            return
        for _, layer in groupby(cells, lambda cell: cell.layer):
            yield from grouped((self._trial(cell) for cell in layer), self.recipe.trainer.batch_size)

    def _trial(self, cell: Cell) -> Trial:
        """A cell, placed."""
        recipe = recipe_of(self.recipe, self.site, cell)
        placed = recipe.place(self.problem)
        if not placed.learned:
            return Trial(cell, recipe, placed, None, None)
        data = self.problem.moved(self.train, placed, self.needs.watch)
        return Trial(cell, recipe, placed, data, self._ready("train", placed, data, self.needs))

    def _measured(self, group: Sequence[Trial]) -> Iterator[Row]:
        """Cells trained, and measured on validation pairs."""
        began = time.perf_counter()
        steps = trained(group)
        seconds = round((time.perf_counter() - began) / len(group), 3)
        for trial in group:
            cell, swapped = trial.cell, interchange_of(trial.placed)
            row: Row = {
                "layer": cell.layer, "component": self.site.component, "positions": cell.positions,
                "column": cell.column, "text": self.columns[cell.column].text, "rank": cell.rank, "seed": cell.seed,
                "dimension": swapped[0].dimension, **self._evaluated(swapped),
            }  # fmt: skip
            row |= self._beside(cell, swapped)
            yield {**row, "train/steps": steps, "train/seconds": seconds}

    def site_of(self, cell: Cell) -> Site:
        """Where a cell is."""
        return replace(self.site, layer=cell.layer, positions=cell.positions, source_positions=None)

    def _beside(self, cell: Cell, swapped: InterventionSet) -> Row:
        """Controls at the same site, measured once per site and rank."""
        key = (cell.layer, cell.positions, swapped[0].dimension)
        if key not in self._controls:
            sets = {FULL: InterventionSet([(self.site_of(cell), full_vector(swapped[0].width))])}
            with suppress(CapabilityError):
                sets[RANDOM] = random_interchange(swapped)
            found = {name: self._evaluated(x.to(self.problem.device)) for name, x in sets.items()}
            self._controls[key] = {f"{name}/{k}": v for name, numbers in found.items() for k, v in numbers.items()}
        return self._controls[key]

    def _evaluated(self, swapped: InterventionSet) -> Row:
        val = self.problem.moved(self.val, swapped)
        ready = self._ready("val", swapped, val, Needs(runs=runs_of(self.metrics)))
        return dict(evaluate(ready, val, swapped, self.metrics, self.problem.data.batch_size))

    def _ready(self, split: str, placed: InterventionSet, data: PairDataset, needs: Needs) -> Prepared:
        engine, recording = self.problem.engine(placed, needs.watch), self._recordings[split]
        if recording is None:
            return prepared(engine, data, self.recipe.trainer, needs.runs)
        return recording.replay(engine)

    def _record(
        self, data: PairDataset, at: Sequence[Site], sources: Sequence[str], needs: Needs, budget: int
    ) -> Recording | None:
        """One pass for all layers, or None where that is impossible or does not fit into memory."""
        if self.recipe.trainer.tier in ("hooks", "prefix"):
            return None
        placements = [Placement(site, {name: site.read(name) for name in sources}) for site in at]
        engines = [Engine(self.problem.model, [placement], needs.watch) for placement in placements]
        try:
            return Recording(
                engines, data, runs=needs.runs, budget_bytes=budget, store=self.recipe.trainer.store,
                progress=self.progress,
            )  # fmt: skip
        except EngineError as error:
            log.info("every site reads the data for itself: %s", error)
            return None

    def _columns(self, grid: Grid, placed: InterventionSet, swapped: InterventionSet) -> list[Column]:
        """The columns, with training and validation rows that have all of them."""
        decode: Callable[[int], str] = lambda token: str(self.problem.tokenizer.decode([token]))  # noqa: E731
        if isinstance(grid.positions, str):
            columns = all_columns(self._prompts(), decode)
            self._keep([column.positions for column in columns], placed, swapped)
            return columns
        self._keep(grid.positions, placed, swapped)
        return described(grid.positions, self._prompts(), decode)

    def _keep(self, positions: Sequence[str], placed: InterventionSet, swapped: InterventionSet) -> None:
        self.train = self.train.having([where.at(p) for p in positions for where in where_of(placed)])
        self.val = self.val.having([where.at(p) for p in positions for where in where_of(swapped)])
        self.problem.dropped |= {"train": self.train.dropped, "val": self.val.dropped}

    def _prompts(self) -> list[EncodedPrompt]:
        return [p for data in (self.train, self.val) for e in data.encoded for p in (e.base, *e.sources.values())]


def _short(row: Row) -> str:
    numbers = {k: v for k, v in row.items() if isinstance(v, float) and "/" not in k}
    return ", ".join(f"{k} {v:.3f}" for k, v in list(numbers.items())[:3])
