"""Accuracy of CausalGym (arXiv 2402.12560): the interchange makes the counterfactual label likelier than the base's.

Equation   1[ p_intervened(y_s | base) > p_intervened(y_b | base) ]
           where the label must stay (y_s = y_b), it is compared with the likeliest other label of the set
Units      share of rows, 0 to 1; `iia` asks for more where the label set holds several labels that are as good
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
class PairwiseIIA:
    """1 where the counterfactual label beats the base's."""

    best, worst = 1.0, 0.0
    choices = True

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        choices, right = need_choices(batch, "pairwise_iia")
        assert batch.base_choice is not None
        scores = outputs.logits[:, 0].double().gather(1, choices)
        mine, base = (scores.gather(1, i[:, None])[:, 0] for i in (right, batch.base_choice))
        others = scores.scatter(1, right[:, None], -math.inf).amax(1)
        return (mine > torch.where(right == batch.base_choice, others, base)).double()
