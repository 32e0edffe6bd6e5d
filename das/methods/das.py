"""DAS: distributed alignment search (arXiv 2303.02536, 2305.08809).

Equation   h' = h + R (R^T s - R^T h),  R (width x rank) orthonormal, learned; s the source's activation
Trained by `counterfactual_ce` on interchange pairs: the counterfactual label of the causal model must follow
Steering   the same R with coordinates clamped to the mean of a concept value
Shapes     h (B, P, width), s (B, P or 1, width); R in fp32
Raises     InputError unless 1 <= rank <= width
Cost       2 width rank multiply-adds per position and a thin QR per step
"""

from __future__ import annotations

from das.edits.swap import Swap
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def das(width: int, rank: int = 1, parametrization: Parametrization = "retract") -> Intervention:
    """A learned rotation whose first `rank` coordinates are interchanged."""
    return Intervention(Rotation(width, rank, parametrization), Swap(), name="das")


METHOD = das
