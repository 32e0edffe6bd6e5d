"""NoDiReFT: DiReFT without orthonormality, a low-rank adapter of the activation (arXiv 2404.03592).

Equation   h' = h + P^T (W h + b),  P, W (rank x width) free
Trained by `lm_loss` on responses
Shapes     h (B, P, width)
Raises     InputError unless 1 <= rank <= width
Steering   as `noreft`
"""

from __future__ import annotations

from das.edits.affine import Affine
from das.featurizers.projection import Projection
from das.interventions.base import Intervention


def nodireft(width: int, rank: int = 4) -> Intervention:
    """As DiReFT, with a free projection."""
    return Intervention(
        Projection(width, rank), Affine(width, rank, relative=True), steering={}, trained_by="lm_loss", name="nodireft"
    )


METHOD = nodireft
