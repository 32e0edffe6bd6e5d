"""ConsReFT: coordinates of a learned subspace are set to a learned constant (pyreft).

Equation   h' = h + f R (b - R^T h),  R (width x rank) orthonormal, b (rank)
Trained by `lm_loss` on responses
Shapes     h (B, P, width)
Raises     InputError unless 1 <= rank <= width
At f = 1 a clamp whose value is learned instead of read off the data.
"""

from __future__ import annotations

import torch

from das.edits.lerp import Lerp
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def consreft(width: int, rank: int = 4, parametrization: Parametrization = "retract") -> Intervention:
    """A learned constant."""
    edit = Lerp(rank, torch.rand(rank), learned=True)
    return Intervention(Rotation(width, rank, parametrization), edit, trained_by="lm_loss", name="consreft")


METHOD = consreft
