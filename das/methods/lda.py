"""LDA: the linear discriminant of the two concept values, a baseline of CausalGym (arXiv 2402.12560).

Equation   v ~ (S + `shrinkage` tr(S)/width I)^-1 (mu+ - mu-),  S the covariance within the values;  |v| = 1
           h' = h + f (v.(mu+ - mu-)) v
Fitted on  contrasts: read where the site says
Steering   as trained, per-row factors; also clamp, add, ablate along the unit direction
Shapes     x (N, width) -> one direction (width,)
Raises     InputError unless 0 <= shrinkage, or where means are equal; EmptySplitError for a value without prompts
Deviation  scikit-learn's solver drops directions without variance; shrinkage keeps fewer rows than neurons invertible
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.edits.add import Add
from das.errors import InputError
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.estimators.rounding import unit
from das.featurizers.direction import Direction
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Lda:
    """The direction that separates the values best in units of their spread.

    Attributes:
        shrinkage: multiple of the mean variance that is added to every direction's.
    """

    shrinkage: float = 0.01

    def __post_init__(self) -> None:
        if not self.shrinkage >= 0:
            raise InputError("shrinkage must not be negative", got=self.shrinkage)

    def fit(self, examples: Examples) -> Intervention:
        """Added by the distance of the two means along it."""
        sides = [examples.side(value) for value in (POSITIVE, NEGATIVE)]
        gap = sides[0].mean(0) - sides[1].mean(0)
        unit(gap, "the difference of the means", examples.size)
        within = torch.cat([side - side.mean(0) for side in sides])
        spread = within.T @ within / len(within)
        spread.diagonal().add_(self.shrinkage * spread.trace() / examples.width)
        normal = torch.linalg.lstsq(spread, gap[:, None], driver="gelsd").solution[:, 0]
        v = normal / normal.norm()
        return Intervention(Direction(len(v), v, learned=False), Add(1, (v @ gap)[None]), name="lda")


METHOD = Lda
