"""LoBiReFT: a learned constant is added along learned orthonormal directions (pyreft).

Equation   h' = h + R b,  R (width x rank) orthonormal, b (rank)
Trained by `lm_loss` on responses
Shapes     h (B, P, width)
Raises     InputError unless 1 <= rank <= width
"""

from __future__ import annotations

import torch

from das.edits.add import Add
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def lobireft(width: int, rank: int = 4, parametrization: Parametrization = "retract") -> Intervention:
    """A learned shift."""
    edit = Add(rank, torch.rand(rank), learned=True)
    return Intervention(Rotation(width, rank, parametrization), edit, trained_by="lm_loss", name="lobireft")


METHOD = lobireft
