"""Logit difference: how far the counterfactual label is ahead of the base's own, maximised.

Equation   mean over rows of  logit(base label) - logit(counterfactual label)      rows whose label changes
                              max over other labels of logit - logit(label)         rows whose label stays
Units      logits; not bounded below
Rows       interchange pairs
Raises     CapabilityError without a label set
"""

from __future__ import annotations

import math
from typing import final

import torch

from das.batch import PairBatch
from das.errors import CapabilityError
from das.objectives.base import Loss, Needs
from das.outputs import Outputs


@final
class LogitDifferenceLoss:
    """Minus the counterfactual label's lead."""

    def __init__(self) -> None:
        self.needs = Needs()

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        if batch.choices is None or batch.counterfactual_choice is None or batch.base_choice is None:
            raise CapabilityError(
                "objective 'logit_difference' compares labels of a label set, and these pairs have none",
                got="pairs without choices", remedy="use objective=counterfactual_ce",
            )  # fmt: skip
        first = outputs.logits[:, 0]
        scores = first.to(torch.promote_types(first.dtype, torch.float32)).gather(1, batch.choices)
        right = scores.gather(1, batch.counterfactual_choice[:, None])[:, 0]
        base = scores.gather(1, batch.base_choice[:, None])[:, 0]
        rival = scores.scatter(1, batch.counterfactual_choice[:, None], -math.inf).amax(1)
        loss = (torch.where(batch.base_choice != batch.counterfactual_choice, base, rival) - right).mean()
        return Loss(loss, len(batch), {"logit_difference": -loss.detach()})


OBJECTIVE = LogitDifferenceLoss
