"""Random subspace: a fixed Haar-random basis of the same rank, the lower control of every learned subspace.

Equation   h' = h + R (R^T s - R^T h), R (width x rank) drawn once from `seed` and never trained
Raises     InputError unless 1 <= rank <= width
"""

from __future__ import annotations

import torch

from das.edits.swap import Swap
from das.featurizers.rotation import Rotation
from das.geometry import random_orthonormal
from das.interventions.base import Intervention


def random_subspace(width: int, rank: int = 1, seed: int = 0) -> Intervention:
    """Swap along random directions."""
    basis = random_orthonormal(width, rank, torch.Generator().manual_seed(seed))
    return Intervention(Rotation(width, rank, basis=basis, learned=False), Swap(), name="random_subspace")


METHOD = random_subspace
