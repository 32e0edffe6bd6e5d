"""LoReFT: low-rank linear subspace representation finetuning (arXiv 2404.03592).

Equation   h' = h + R (W h + b - R^T h),  R (width x rank) orthonormal, W (rank x width), b (rank)
Trained by `lm_loss` on responses, at the first N and last M prompt tokens ("fN+lM") of all layers; positions given as
           a list ["fN", "lM"] make an intervention for each end (untied), as one string both ends share it (tied)
Shapes     h (B, P, width) -> (B, P, rank) -> (B, P, width)
Raises     InputError unless 1 <= rank <= width
Deviation  the authors' code applies dropout to the edited activation itself; here there is none
"""

from __future__ import annotations

from das.edits.affine import Affine
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def loreft(width: int, rank: int = 4, parametrization: Parametrization = "retract") -> Intervention:
    """Coordinates replaced by an affine function of the activation."""
    return Intervention(
        Rotation(width, rank, parametrization), Affine(width, rank), trained_by="lm_loss", name="loreft"
    )


METHOD = loreft
