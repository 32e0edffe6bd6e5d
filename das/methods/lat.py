"""LAT: linear artificial tomography, the first principal direction of contrast differences (RepE, arXiv 2310.01405).

Equation   v = argmax_|v|=1 sum_i (v.d_i)^2,  d_i = (h+_i - h-_i) / |h+_i - h-_i|;  signed towards the positive value
           h' = h + f (v.(mu+ - mu-)) v
Fitted on  contrasts, usually read at "last"
Shapes     x (N, width) -> one direction (width,)
Raises     EmptySplitError without complete pairs, InputError where all differences are zero, or that of the
           means along v
Why uncentred: the authors draw the order of each pair at random, which makes the differences' mean zero
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.edits.add import Add
from das.estimators.base import Examples
from das.estimators.rounding import NEGLIGIBLE, unit
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
        told = lengths[:, 0] > NEGLIGIBLE * examples.size
        longest = differences[lengths.argmax()]
        unit(longest, "the longest difference", examples.size)
        axis = torch.linalg.svd(differences[told] / lengths[told], full_matrices=False).Vh[0]
        positive, negative = examples.means()
        shift = axis * (axis @ (positive - negative))
        v = unit(shift, "the difference of the means along the axis", examples.size)
        return Intervention(Direction(len(v), v, learned=False), Add(1, shift.norm()[None]), name="lat")


METHOD = Lat
