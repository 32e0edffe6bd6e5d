"""heq_hand: hierarchical equality by construction, every feature along a random direction (`das.models.equality`).

The output of block 1 at the last token carries WX and YZ along one direction each, of 32; nothing is trained.
"""

from __future__ import annotations

import torch

from das.geometry import random_orthonormal
from das.models.equality import FEATURES, equality_recipe
from das.shapes import Basis

WIDTH, SEED = 32, 0


def features() -> Basis:
    """The direction of every feature, (32, 30)."""
    return random_orthonormal(WIDTH, FEATURES, torch.Generator().manual_seed(SEED))


RECIPE = equality_recipe("the hand-built equality model", __name__, features)
