"""Anchored subspace: two orthogonal axes, what a model knows and what its context says, with signs (arXiv 2511.01706).

Equation   h' = h + u_i (u_i.s_i - u_i.h) for the source i a pair is about,  [u_1 u_2] orthonormal,  u_i.a_i > 0
           the anchor a_i is the mean activation of one of the concept's values: positive for the first source
Fitted on  contrasts (anchors, and a start in their span), then trained by `counterfactual_ce` on pairs with two
           sources, one of them the base itself: the other's answer must follow (the paper: at the last token)
Reading    the share of axis i at any token is |z_i| / (|z_1| + |z_2|); a knowledge answer has a large z_1
Shapes     x (N, width) -> R (width, 2)
Raises     EmptySplitError for a value without prompts, InputError where the anchors are parallel
The one-axis form is `context_knob`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from das.edits.swap_blocks import SwapBlocks
from das.errors import InputError
from das.estimators.base import Examples
from das.estimators.rounding import unit
from das.featurizers.oriented import Oriented
from das.featurizers.rotation import Parametrization
from das.geometry import orthonormalize
from das.interventions.base import Intervention

#: Smallest singular value of the two unit anchors that still spans a plane.
_FLAT = 1e-4


@final
@dataclass(frozen=True)
class Anchored:
    """Two axes with anchors.

    Attributes:
        sources: names of the sources, the positive value's first.
        parametrization: how the axes are kept orthonormal.
    """

    sources: Sequence[str] = ("prior", "context")
    parametrization: Parametrization = "retract"

    def fit(self, examples: Examples) -> Intervention:
        """To be trained: starts at the orthonormal pair that is closest to the two anchors."""
        anchors = torch.stack(examples.means())
        directions = torch.stack([unit(a, "an anchor", examples.size) for a in anchors], 1)
        left, spread, right = torch.linalg.svd(directions, full_matrices=False)
        if not float(spread[-1]) > _FLAT:
            raise InputError("the two anchors are parallel", got=f"singular values {spread.tolist()}",
                             remedy="read where the concept's two values differ")  # fmt: skip
        width, rank = directions.shape
        start = orthonormalize((left @ right).float())
        featurizer = Oriented(width, rank, anchors, start, self.parametrization)
        return Intervention(featurizer, SwapBlocks(rank, self.sources, (1,) * rank), name="anchored")


METHOD = Anchored
