"""Random subspace: as many directions as the learned subspace keeps open, drawn at random at the same site.

Reported is the mean over `DRAWS` draws. Where a gate closes coordinates, only those it leaves open are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from das.edits.base import Edit
from das.edits.swap import Swap
from das.errors import CapabilityError
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.methods.random_subspace import directions, drawn_like
from das.training.controls.base import Subject

DRAWS = 5


@final
@dataclass(frozen=True)
class RandomSubspace:
    """Random directions."""

    title = "random subspace, equal rank"
    meaning = "as many directions, not learned"
    trained = False

    def make(self, subject: Subject) -> Sequence[InterventionSet | None]:
        """One set per draw; tied placements share their draw."""
        return [random_interchange(subject.learned, draw).to(subject.problem.device) for draw in range(DRAWS)]


def random_interchange(learned: InterventionSet, seed: int = 0) -> InterventionSet:
    """Interchanges along as many random directions as each intervention keeps open, in the same places.

    Raises:
        CapabilityError: nothing is open, or everything is, or no random subspace can stand in for an edit.
    """
    return drawn_like(learned, _like, seed)


def _like(learned: Intervention, generator: torch.Generator) -> Intervention:
    rank = learned.dimension
    if not 1 <= rank < learned.width:
        raise CapabilityError(
            "there is no random subspace to compare with", got=f"{rank} coordinates of width {learned.width}",
            remedy="compare with the full-vector swap",
        )  # fmt: skip
    drawn = directions(learned.width, rank, generator)
    return Intervention(drawn, _edit(learned, rank), steering={}, name="random_subspace")


def _edit(learned: Intervention, rank: int) -> Edit:
    """A swap with the only source; several sources keep their blocks of coordinates."""
    sources = learned.edit.sources
    if len(sources) == 1 and learned.edit.aligned:
        return Swap(sources[0])
    if learned.edit.aligned and rank == learned.rank:
        return learned.edit
    raise CapabilityError("a random subspace cannot stand in for this edit", got=f"sources {sources}")


CONTROL = RandomSubspace()
