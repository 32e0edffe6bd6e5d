"""Absolute logit difference: how far the base's own label is ahead of its rival in the intervened run.

Equation   logit(base label) - logit(rival), the same two whatever the interchange: in `ioi` logit(IO) - logit(S)
Units      logits: falls as an interchange that changes the label takes effect; `fldd` is its decrease as a share
           `logit_difference` compares the counterfactual label with the best other one, and needs no rival
Raises     CapabilityError without a rival or a label set
"""

from __future__ import annotations

import math
from typing import final

import torch

from das.batch import PairBatch, readout
from das.metrics.base import PerRow
from das.outputs import Outputs


@final
class BaseLogitDifference:
    """Base label's logit minus its rival's."""

    best, worst = -math.inf, math.inf
    choices = True

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        return readout(outputs.logits, batch, "metric 'base_logit_difference'", torch.float64)
