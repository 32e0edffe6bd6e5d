"""Steering vector: one vector of free length is added, for any objective (BiPO, arXiv 2406.00045; SPLIT, 2602.02343).

Equation   h' = h + f v
Trained by `bipo` (starts at v = 0), `split`, `dpo`, `simpo`, `lm_loss`
Shapes     h (B, P, width), v (width,), f (B,)
Raises     InputError for a negative length
"""

from __future__ import annotations

import torch

from das.edits.add import Add
from das.errors import InputError
from das.featurizers.vector import Vector
from das.interventions.base import Intervention


def steering_vector(width: int, scale: float = 1.0) -> Intervention:
    """A vector of length `scale`, learned."""
    if scale < 0:
        raise InputError("the length of a vector cannot be negative", got=scale)
    return Intervention(Vector(width, scale), Add(1, torch.ones(1)), trained_by="bipo", name="steering_vector")


METHOD = steering_vector
