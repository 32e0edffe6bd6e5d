"""RePS vector: added by a factor, nulled out by factor 0: one vector learns to steer both ways (arXiv 2505.20809).

Equation   h' = h + f v  for f != 0;   h' = h - relu(v.h + beta) / |v|^2 v  for f = 0
Trained by `reps` on preferences with sampled factors
Shapes     h (B, P, width), v (width,), f (B,)
"""

from __future__ import annotations

from das.edits.add_or_null import AddOrNull
from das.featurizers.vector import Vector
from das.interventions.base import Intervention


def reps_vector(width: int, scale: float = 1.0, beta: float = 0.0) -> Intervention:
    """A vector of length `scale`, learned."""
    return Intervention(Vector(width, scale, beta=beta), AddOrNull(), trained_by="reps", name="reps_vector")


METHOD = reps_vector
