"""Squared error of the logit difference: MIB's score of an interchange in indirect object identification (2504.13151).

Equation   (D - value)^2, D = logit(base label) - logit(rival) as in `base_logit_difference`, value the causal model's
Units      squared logits; its mean is MIB's mean squared error
Raises     CapabilityError without a rival or a label set, or where the causal model says nothing about logits
"""

from __future__ import annotations

import math
from typing import final

from das.batch import PairBatch, values_of
from das.metrics.base import PerRow
from das.metrics.base_logit_difference import BaseLogitDifference
from das.outputs import Outputs


@final
class LogitDifferenceError:
    """Squared distance from the causal model's logit difference."""

    best, worst = 0.0, math.inf
    choices = True
    values = True

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        wanted = values_of(batch, "metric 'logit_difference_error'")
        return (BaseLogitDifference()(outputs, batch) - wanted.double()).square()
