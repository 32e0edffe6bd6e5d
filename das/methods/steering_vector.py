"""Steering vector: one vector of free length is added, to be trained by any objective (BiPO, SPLIT, LM loss ...).

Equation   h' = h + f v
Trained by `bipo` (arXiv 2406.00045; starts at v = 0), `split` (arXiv 2602.02343), `dpo`, `simpo`, `lm_loss`
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
    return Intervention(Vector(width, scale), Add(1, torch.ones(1)), name="steering_vector")
