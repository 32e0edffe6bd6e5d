"""DBM: differential binary masking, a learned set of neurons is interchanged (arXiv 2402.17700, 2311.16164).

Equation   h' = h + m (s - h),  m = sigmoid(mu / T) while training, 1[mu > 0] after it
Trained by `counterfactual_ce`, plus `weight` * sum_k m_k
Shapes     h (B, P, width), s (B, P or 1, width), mu (width,)
"""

from __future__ import annotations

from das.edits.swap import Swap
from das.featurizers.identity import Identity
from das.gates.schedule import Curve
from das.gates.sigmoid_mask import SigmoidMask
from das.interventions.base import Intervention


def dbm(
    width: int, start: float = 1.0, end: float = 0.01, curve: Curve = "linear", weight: float = 0.01, init: float = 0.0
) -> Intervention:
    """A mask over neurons."""
    gate = SigmoidMask(width, start, end, curve, init, weight)
    return Intervention(Identity(width), Swap(), gate, name="dbm")


METHOD = dbm
