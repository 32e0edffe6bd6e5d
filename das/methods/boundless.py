"""Boundless DAS: a full rotation of which a learned number of coordinates is interchanged (arXiv 2305.08809).

Equation   h' = h + R (m (R^T s - R^T h)),  R (width x rank) orthonormal (rank = width if None),  m_k -> 1[k < b rank]
Trained by `counterfactual_ce`; the boundary b is pulled down by `weight` * b while its mask is annealed
Shapes     h (B, P, width), s (B, P or 1, width); b a scalar in [1e-3, 1]
Raises     InputError unless 1 <= rank <= width
Deviation  the mask has no left factor unless asked for: sigmoid(0) halves coordinate 0 at any temperature
"""

from __future__ import annotations

from das.edits.swap import Swap
from das.featurizers.rotation import Parametrization, Rotation
from das.gates.boundary import Boundary
from das.interventions.base import Intervention


def boundless(
    width: int,
    rank: int | None = None,
    start: float = 50.0,
    end: float = 0.1,
    weight: float = 1.0,
    left_factor: bool = False,
    lr_scale: float = 10.0,
    parametrization: Parametrization = "retract",
) -> Intervention:
    """A rotation behind a boundary."""
    rank = width if rank is None else rank
    gate = Boundary(rank, start, end, weight=weight, left_factor=left_factor, lr_scale=lr_scale)
    return Intervention(Rotation(width, rank, parametrization), Swap(), gate, name="boundless")


METHOD = boundless
