"""Cells of a sweep that are trained together: of one layer, alike in length, so that little padding is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from das.data.dataset import PairDataset
from das.engine.layout import layout
from das.engine.tiers import Prepared
from das.interventions.sets import InterventionSet
from das.sweeping.grid import Cell
from das.training.loop import train
from das.training.recipe import Recipe
from das.training.together import Member, train_together

#: Tokens that a joint pass computes at most, unless one cell alone has more: beyond it machines are busy.
TOKENS = 2048
#: Least share of them that are not padding.
FILLED = 0.8


@dataclass(frozen=True)
class Trial:
    """A cell, placed; without data where nothing is learned."""

    cell: Cell
    recipe: Recipe
    placed: InterventionSet
    data: PairDataset | None
    ready: Prepared | None

    @property
    def member(self) -> Member:
        """As a joint training takes it."""
        assert self.data is not None and self.ready is not None
        return Member(self.placed, self.ready, self.data, self.recipe.minimised(self.placed), self.cell.seed)


def grouped(trials: Iterable[Trial], batch_size: int) -> Iterator[list[Trial]]:
    """Neighbours that should share the model's passes.

    Args:
        trials: learned, of one layer, from one recording.
        batch_size: groups of rows per step of each.
    """
    group: list[Trial] = []
    lengths: list[int] = []
    for trial in trials:
        rows, length = _extent(trial, batch_size)
        longest, size = max([length, *lengths]), len(group) + 1
        if group and (size * rows * longest > TOKENS or sum([length, *lengths]) < FILLED * longest * size):
            yield group
            group, lengths = [], []
        group.append(trial)
        lengths.append(length)
    if group:
        yield group


def trained(group: Sequence[Trial]) -> int:
    """Train them in place, frozen afterwards; returns the optimiser steps of each."""
    first, steps = group[0], 0
    quiet = replace(first.recipe.trainer, progress=False, val_every=0)
    if len(group) > 1:
        steps = train_together([t.member for t in group], first.recipe.optimizer, quiet)
    elif first.data is not None and first.ready is not None:
        steps = train(
            first.placed, first.ready.engine, first.data, first.recipe.minimised(first.placed), first.recipe.optimizer,
            quiet, seed=first.cell.seed, ready=first.ready,
        ).steps  # fmt: skip
    for trial in group:
        trial.placed.requires_grad_(False).eval()
    return steps


def _extent(trial: Trial, batch_size: int) -> tuple[int, int]:
    """Rows of a step, and tokens of each that run again."""
    assert trial.data is not None
    rows = min(len(trial.data), batch_size * trial.data.group)
    return rows, layout(trial.data.collate(range(rows))).suffix.shape[1]
