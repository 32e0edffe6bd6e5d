"""heq_neurons: hierarchical equality by construction, WX and YZ on four neurons each (`das.models.equality`).

At the output of block 1 at the last token, neurons 0 to 3 hold WX and nothing else, a quarter each of what the answer
depends on, and neurons 4 to 7 hold YZ; all other features lie along random directions of the other 28 neurons.
"""

from __future__ import annotations

import torch

from das.geometry import random_orthonormal
from das.models.equality import FEATURES, WX, YZ, equality_recipe
from das.shapes import Basis

NEURONS = {WX: (0, 1, 2, 3), YZ: (4, 5, 6, 7)}
WIDTH, SEED = 36, 0


def features() -> Basis:
    """The direction of every feature, (36, 30)."""
    basis = torch.zeros(WIDTH, FEATURES)
    others = [feature for feature in range(FEATURES) if feature not in NEURONS]
    basis[8:, others] = random_orthonormal(len(others), len(others), torch.Generator().manual_seed(SEED))
    for feature, neurons in NEURONS.items():
        basis[list(neurons), feature] = 0.5
    return basis


RECIPE = equality_recipe("the hand-built equality model on neurons", __name__, features)
