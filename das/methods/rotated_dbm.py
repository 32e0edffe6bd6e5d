"""Rotated DBM: a learned set of coordinates of a learned rotation is interchanged (pyvene's SigmoidMaskRotatedSpace).

Equation   h' = h + R (m (R^T s - R^T h)),  R (width x rank) orthonormal (rank = width if None), m as in `dbm`
Trained by `counterfactual_ce`, plus `weight` * sum_k m_k
Deviation  mu starts at 0 and T at 1; pyvene's mu = 100 and T = 50 close no mask within a few hundred steps
Shapes     h (B, P, width), s (B, P or 1, width), mu (rank,)
Raises     InputError unless 1 <= rank <= width
"""

from __future__ import annotations

from das.edits.swap import Swap
from das.featurizers.rotation import Parametrization, Rotation
from das.gates.schedule import Curve
from das.gates.sigmoid_mask import SigmoidMask
from das.interventions.base import Intervention


def rotated_dbm(
    width: int,
    rank: int | None = None,
    start: float = 1.0,
    end: float = 0.01,
    curve: Curve = "linear",
    weight: float = 0.01,
    init: float = 0.0,
    parametrization: Parametrization = "retract",
) -> Intervention:
    """A mask over rotated coordinates."""
    rank = width if rank is None else rank
    gate = SigmoidMask(rank, start, end, curve, init, weight)
    return Intervention(Rotation(width, rank, parametrization), Swap(), gate, name="rotated_dbm")


METHOD = rotated_dbm
