"""Probe: the normal of a logistic regression between the two concept values (arXiv 1610.01644).

Equation   v = w / |w|, w of the logistic regression in `das.estimators.logistic`;  h' = h + f (v.(mu+ - mu-)) v
Shapes     x (N, width) -> one direction (width,)
Raises     EmptySplitError for a value without prompts, InputError where nothing separates the values
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from das.edits.add import Add
from das.estimators.base import POSITIVE, Examples
from das.estimators.logistic import fit_probe
from das.estimators.rounding import unit
from das.featurizers.direction import Direction
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Probe:
    """A logistic probe's direction.

    Attributes:
        l2: ridge.
    """

    l2: float = 1e-3

    def fit(self, examples: Examples) -> Intervention:
        """Added by the distance of the two means along it."""
        positive, negative = examples.means()
        weight = fit_probe(examples.x, examples.label == POSITIVE, self.l2).weight
        v = unit(weight * examples.size, "the probe's normal", 1.0)
        gap = v @ (positive - negative)
        unit(gap[None], "the distance of the means along the probe's normal", examples.size)
        return Intervention(Direction(len(v), v, learned=False), Add(1, gap[None]), name="probe")


METHOD = Probe
