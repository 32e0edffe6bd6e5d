"""The control of steering: as many random directions, steered in the same way.

A random subspace gets factors of its own, so it goes as far as its own means do; a vector that is added keeps its
length. What is steered by constants that belong to the learned coordinates has no such control.
"""

from __future__ import annotations

import torch

from das.edits.add import Add
from das.edits.add_or_null import AddOrNull
from das.edits.zero import Zero
from das.errors import CapabilityError
from das.featurizers.base import Featurizer
from das.featurizers.direction import Direction
from das.featurizers.rotation import Rotation
from das.featurizers.vector import Vector
from das.interventions.base import AS_TRAINED, Intervention
from das.interventions.sets import InterventionSet
from das.methods.random_subspace import directions, drawn_like

#: Edits that mean the same along any direction.
_ANYWHERE = (Add, AddOrNull, Zero)


def random_like(interventions: InterventionSet, seed: int = 0) -> InterventionSet:
    """The same interventions along random directions of equal rank, placed alike.

    Args:
        interventions: learned.
        seed: of the directions.

    Raises:
        CapabilityError: there is no random counterpart; the message says of what.
    """
    return drawn_like(interventions, _drawn, seed)


def _drawn(learned: Intervention, generator: torch.Generator) -> Intervention:
    operation = next(iter(learned.operations), None)
    fixed = operation == AS_TRAINED and not isinstance(learned.edit, _ANYWHERE)
    if operation is None or fixed or learned.conditioner is not None:
        raise CapabilityError("random directions cannot be steered like this method", got=learned.name)
    featurizer = _featurizer(learned, generator)
    return Intervention(featurizer, learned.edit, learned.gate, steering=learned.steering, name="random_subspace")


def _featurizer(learned: Intervention, generator: torch.Generator) -> Featurizer:
    like, width, rank = learned.featurizer, learned.width, learned.rank
    if not isinstance(like, Rotation | Direction | Vector) or rank >= width:
        got = f"{rank} coordinates of width {width} by {type(like).__name__}"
        raise CapabilityError("no random directions are like those of this method", got=got)
    drawn = directions(width, rank, generator)
    if isinstance(like, Vector):
        return Vector(width, vector=drawn.basis[:, 0] * like.vector.detach().norm().cpu(), learned=False)
    return drawn
