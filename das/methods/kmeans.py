"""k-means: the difference of two cluster centres found without labels, a baseline of CausalGym (arXiv 2402.12560).

Equation   h' = h + f (c+ - c-),  c+ and c- the centres of two clusters; c+ that with the larger share of positives
Fitted on  contrasts, read where the site says; concept values decide only which way is positive
Steering   as trained, per-row factors; also clamp, add, ablate along the unit direction
Shapes     x (N, width) -> one direction (width,)
Raises     EmptySplitError for a value without prompts, InputError where all activations are equal
Start      the two halves along the first principal direction, so that no random number is drawn
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.errors import InputError
from das.estimators.base import POSITIVE, Examples
from das.estimators.rounding import principal
from das.interventions.base import Intervention
from das.methods.diff_means import shift


@final
@dataclass(frozen=True)
class KMeans:
    """Lloyd's algorithm with two clusters.

    Attributes:
        steps: most rounds; it ends earlier where nothing changes.
    """

    steps: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError("k-means needs at least one round", got=self.steps)

    def fit(self, examples: Examples) -> Intervention:
        """Added at its own length by a factor of one."""
        examples.means()  # a direction needs both values to have a sign
        x = examples.x.double()
        along, spread, _ = principal(x)
        if not len(spread):
            raise InputError("all activations are equal, so they have no clusters", got=f"{len(x)} rows")
        along = along[:, 0]
        second = along > along.median()
        for _ in range(self.steps):
            if not 0 < int(second.sum()) < len(x):
                second = along == along.max()
            centres = torch.stack([x[~second].mean(0), x[second].mean(0)])
            moved = torch.cdist(x, centres).argmin(1) == 1
            if torch.equal(moved, second):
                break
            second = moved
        positive = (examples.label == POSITIVE).double()
        swapped = positive[second].mean() < positive[~second].mean()
        return shift(centres[0 if swapped else 1], centres[1 if swapped else 0], examples.size, "kmeans")


METHOD = KMeans
