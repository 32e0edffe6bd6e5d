"""CDAS: concept DAS (arXiv 2602.05234).

Equation   h' = h + R (R^T s - R^T h), R (width x rank) orthonormal, rank 1 in the paper
Trained by `jsd` on contrast quadruples (x, y, x_c, y_c), both directions in one step: with the concept's activation
           swapped in, the whole next-token distribution must match the one the model natively has on the source prompt,
           teacher-forced on the source's response
Steering   coordinates clamped to f times the mean coordinate of the concept's (or of the neutral) training prompts
Shapes     h (B, P, width), s (B, P or 1, width); R in fp32
Raises     InputError unless 1 <= rank <= width
Deviation  for rank > 1 the columns are kept orthonormal; the authors' code only renormalises each, and then the swap
           identity R^T h' = R^T s fails
"""

from __future__ import annotations

from das.edits.swap import Swap
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def cdas(width: int, rank: int = 1, parametrization: Parametrization = "retract") -> Intervention:
    """The interchange of DAS, to be trained by an objective on contrast quadruples."""
    return Intervention(Rotation(width, rank, parametrization), Swap(), trained_by="jsd", name="cdas")


METHOD = cdas
