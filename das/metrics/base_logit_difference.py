"""Absolute logit difference: how far the base's own label is ahead of its rival in the intervened run.

Equation   logit(base label) - logit(rival), the same two whatever the interchange: in `ioi` logit(IO) - logit(S)
           pairs without a rival: the counterfactual label, or the best other one where the label must stay
Units      logits: falls as an interchange that changes the label takes effect; `fldd` is its decrease as a share
Raises     CapabilityError without a label set
"""

from __future__ import annotations

import math
from typing import final

import torch

from das.batch import PairBatch
from das.metrics.base import PerRow, need_choices
from das.outputs import Outputs


@final
class BaseLogitDifference:
    """Base label's logit minus its rival's."""

    best, worst = -math.inf, math.inf

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        choices, counterfactual = need_choices(batch, "base_logit_difference")
        assert batch.base_choice is not None
        own = batch.base_choice[:, None]
        scores = outputs.logits[:, 0].double().gather(1, choices)
        if batch.rival_choice is not None:
            rival = scores.gather(1, batch.rival_choice[:, None])[:, 0]
        else:
            changed, others = scores.gather(1, counterfactual[:, None])[:, 0], scores.scatter(1, own, -math.inf).amax(1)
            rival = torch.where(counterfactual == batch.base_choice, others, changed)
        return scores.gather(1, own)[:, 0] - rival
