"""Difference in means: the steering vector of CAA and of many others (arXiv 2312.06681, 2310.06824).

Equation   h' = h + f (mu+ - mu-),  mu+, mu- the mean activations of the two concept values over all tokens read
Fitted on  contrasts: read where the site says ("last": CAA's answer token; "generated": all response tokens)
Steering   as trained, per-row factors; also clamp, add, ablate along the unit direction
Shapes     x (N, width) -> one direction (width,)
Raises     EmptySplitError for a value without prompts, InputError where the means are equal
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.edits.add import Add
from das.estimators.base import Examples
from das.estimators.rounding import unit
from das.featurizers.direction import Direction
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class DiffMeans:
    """Mean of the positive minus mean of the negative activations."""

    def fit(self, examples: Examples) -> Intervention:
        """Added at its own length by a factor of one."""
        return shift(*examples.means(), examples.size, "diff_means")


def shift(positive: torch.Tensor, negative: torch.Tensor, size: float, name: str) -> Intervention:
    """Adds positive - negative, as a unit direction with a constant; `size` is that of the activations."""
    difference = positive - negative
    v = unit(difference, "the difference of the means", size)
    return Intervention(Direction(len(v), v, learned=False), Add(1, difference.norm()[None]), name=name)


METHOD = DiffMeans
