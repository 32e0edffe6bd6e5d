"""Random subspace: as many directions as the learned subspace keeps open, drawn at random at the same site.

Reported is the mean over `DRAWS` draws. Where a gate closes coordinates, only those it leaves open are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from das.edits.base import Edit
from das.edits.swap import Swap
from das.errors import CapabilityError
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.methods.random_subspace import random_subspace
from das.training.controls.base import Trial

DRAWS = 5


@final
@dataclass(frozen=True)
class RandomSubspace:
    """Random directions."""

    title = "random subspace, equal rank"
    meaning = "as many directions, not learned"
    trained = False

    def make(self, trial: Trial) -> Sequence[InterventionSet | None]:
        """One set per draw; tied placements share their draw."""
        return [self._draw(trial, draw) for draw in range(DRAWS)]

    def _draw(self, trial: Trial, draw: int) -> InterventionSet:
        seeds = range(draw * len(trial.learned.interventions), (draw + 1) * len(trial.learned.interventions))
        drawn = [_like(x, seed) for x, seed in zip(trial.learned.distinct(), seeds, strict=True)]
        entries = [(p, drawn[n]) for p, n in zip(trial.learned.placements, trial.learned.order, strict=True)]
        return InterventionSet(entries).to(trial.problem.device)


def _like(learned: Intervention, seed: int) -> Intervention:
    rank = learned.dimension
    if not 1 <= rank < learned.width:
        raise CapabilityError(
            "there is no random subspace to compare with", got=f"{rank} coordinates of width {learned.width}",
            remedy="compare with the full-vector swap",
        )  # fmt: skip
    drawn = random_subspace(learned.width, rank, seed)
    return Intervention(drawn.featurizer, _edit(learned, rank), steering={}, name="random_subspace")


def _edit(learned: Intervention, rank: int) -> Edit:
    """A swap with the only source; several sources keep their blocks of coordinates."""
    sources = learned.edit.sources
    if len(sources) == 1 and learned.edit.aligned:
        return Swap(sources[0])
    if learned.edit.aligned and rank == learned.rank:
        return learned.edit
    raise CapabilityError("a random subspace cannot stand in for this edit", got=f"sources {sources}")


CONTROL = RandomSubspace()
