"""DiReFT: LoReFT without the difference (arXiv 2404.03592).

Equation   h' = h + R (W h + b),  R (width x rank) orthonormal
Trained by `lm_loss` on responses
Shapes     h (B, P, width)
Raises     InputError unless 1 <= rank <= width
"""

from __future__ import annotations

from das.edits.affine import Affine
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def direft(width: int, rank: int = 4, parametrization: Parametrization = "retract") -> Intervention:
    """An affine function of the activation added along orthonormal directions."""
    return Intervention(
        Rotation(width, rank, parametrization), Affine(width, rank, relative=True), trained_by="lm_loss", name="direft"
    )


METHOD = direft
