"""LAT: linear artificial tomography, the first principal direction of contrast differences (RepE, arXiv 2310.01405).

Equation   v = argmax_|v|=1 sum_i (v.d_i)^2,  d_i = (h+_i - h-_i) / |h+_i - h-_i|;  signed towards the positive value
           h' = h + f (v.(mu+ - mu-)) v
Fitted on  contrasts, usually read at "last"
Shapes     x (N, width) -> one direction (width,)
Raises     EmptySplitError without complete pairs, InputError where all differences are zero
Why uncentred: the authors draw the order of each pair at random, which makes the differences' mean zero
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.edits.add import Add
from das.estimators.base import Examples, unit
from das.featurizers.direction import Direction
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Lat:
    """The direction in which the two sides of contrasts differ most."""

    def fit(self, examples: Examples) -> Intervention:
        """Added by the distance of the two means along it."""
        differences = examples.differences()
        lengths = differences.norm(dim=1, keepdim=True)
        kept = differences[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
        v = unit(
            torch.linalg.svd(kept, full_matrices=False).Vh[0] if len(kept) else differences.sum(0), "the difference"
        )
        positive, negative = examples.means()
        gap = v @ (positive - negative)
        v = v if gap >= 0 else -v
        return Intervention(Direction(len(v), v, learned=False), Add(1, gap.abs()[None]), name="lat")


METHOD = Lat
