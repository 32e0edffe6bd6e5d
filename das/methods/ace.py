"""ACE: affine concept editing (arXiv 2411.09003).

Equation   h' = h - proj_r(h) + proj_r(mu-) + f r,  r = mu+ - mu-
           f = 0 puts the concept where the negative value has it, f = 1 where the positive has it, whatever the prompt
Fitted on  contrasts or prompts of both values; usually read at "last"
Shapes     x (N, width) -> one direction (width,) and two coordinates
Raises     EmptySplitError for a value without prompts, InputError where the means are equal
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from das.edits.interpolate import Interpolate
from das.estimators.base import Examples
from das.estimators.rounding import unit
from das.featurizers.direction import Direction
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Ace:
    """Set the coordinate along the difference in means."""

    def fit(self, examples: Examples) -> Intervention:
        """Between the two means' coordinates."""
        positive, negative = examples.means()
        r = unit(positive - negative, "the difference of the means", examples.size)
        edit = Interpolate(1, (r @ negative)[None], (r @ positive)[None])
        return Intervention(Direction(len(r), r, learned=False), edit, name="ace")


METHOD = Ace
