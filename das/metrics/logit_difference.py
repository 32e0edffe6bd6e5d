"""Logit difference: how far the counterfactual label is ahead of the best other label of the set.

Equation   logit(counterfactual label) - max over the other labels of logit
Units      logits; above 0 exactly where `iia` is 1 (ties apart)
Raises     CapabilityError without a label set
"""

from __future__ import annotations

import math
from typing import final

from das.batch import PairBatch
from das.metrics.base import PerRow, need_choices
from das.outputs import Outputs


@final
class LogitDifference:
    """Counterfactual label's logit minus the best rival's."""

    best, worst = math.inf, -math.inf
    choices = True

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        choices, right = need_choices(batch, "logit_difference")
        scores = outputs.logits[:, 0].double().gather(1, choices)
        mine = scores.gather(1, right[:, None])
        rivals = scores.scatter(1, right[:, None], -math.inf).amax(1)
        return mine[:, 0] - rivals
