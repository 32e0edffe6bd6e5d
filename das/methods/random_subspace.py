"""Random subspace: a fixed Haar-random basis of the same rank, the lower control of every learned subspace.

Equation   h' = h + R (R^T s - R^T h), R (width x rank) drawn once and never trained
Raises     InputError unless 1 <= rank <= width
`drawn_like` makes what learned interventions are compared with: random ones in the same places.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from das.edits.swap import Swap
from das.featurizers.rotation import Rotation
from das.geometry import random_orthonormal
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet

#: Seeds of controls count from here: a training of the same seed begins with directions drawn from the same numbers.
_FIRST_SEED = 1_000_003


def random_subspace(width: int, rank: int = 1, seed: int | None = None) -> Intervention:
    """Swap along random directions, of a seed or else from torch's generator (in a run, from the run's seed)."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return Intervention(directions(width, rank, generator), Swap(), name="random_subspace")


def directions(width: int, rank: int, generator: torch.Generator | None = None) -> Rotation:
    """Random orthonormal directions that are never trained."""
    return Rotation(width, rank, basis=random_orthonormal(width, rank, generator), learned=False)


def drawn_like(
    interventions: InterventionSet, draw: Callable[[Intervention, torch.Generator], Intervention], seed: int = 0
) -> InterventionSet:
    """What `draw` makes of every intervention, placed alike; tied placements share theirs."""
    generator = torch.Generator().manual_seed(_FIRST_SEED + seed)
    drawn = [draw(x, generator) for x in interventions.distinct()]
    return InterventionSet([(p, drawn[n]) for p, n in zip(interventions.placements, interventions.order, strict=True)])


METHOD = random_subspace
