"""CAA: contrastive activation addition (arXiv 2312.06681).

Equation   h' = h + f v,  v = mean over pairs of (h+ - h-), each read at its answer token ("last")
Fitted on  contrasts: the two sides of a pair share everything but the concept
Written    usually at "all" or "generated" tokens
Shapes     x (N, width) -> one direction (width,)
Raises     EmptySplitError without complete pairs, InputError where the mean difference is zero
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.estimators.base import Examples
from das.interventions.base import Intervention
from das.methods.diff_means import shift


@final
@dataclass(frozen=True)
class Caa:
    """Mean of the pairs' differences."""

    def fit(self, examples: Examples) -> Intervention:
        """Added at its own length by a factor of one."""
        differences = examples.differences()
        return shift(differences.mean(0), torch.zeros_like(differences[0]), examples.size, "caa")


METHOD = Caa
