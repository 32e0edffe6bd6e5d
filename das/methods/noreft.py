"""NoReFT: LoReFT without orthonormality (arXiv 2404.03592).

Equation   h' = h + P^T (W h + b - P h),  P, W (rank x width) free, b (rank)
Trained by `lm_loss` on responses
Shapes     h (B, P, width)
Raises     InputError unless 1 <= rank <= width
Steering   as trained, f times the change; P^T does not undo P, so coordinates can neither be clamped nor ablated
"""

from __future__ import annotations

from das.edits.affine import Affine
from das.featurizers.projection import Projection
from das.interventions.base import Intervention


def noreft(width: int, rank: int = 4) -> Intervention:
    """As LoReFT, with a free projection."""
    return Intervention(Projection(width, rank), Affine(width, rank), steering={}, trained_by="lm_loss", name="noreft")


METHOD = noreft
