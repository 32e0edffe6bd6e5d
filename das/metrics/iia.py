"""Interchange intervention accuracy over the task's label set (arXiv 2303.02536).

Equation   1[ argmax over the label set of p_intervened(. | base) == the causal model's label under the interchange ]
Units      share of rows, 0 to 1; chance is 1 / |label set| only where the sampler is balanced
Raises     CapabilityError without a label set
"""

from __future__ import annotations

from typing import final

from das.batch import PairBatch
from das.metrics.base import PerRow, need_choices
from das.outputs import Outputs


@final
class IIA:
    """1 where the counterfactual label is the likeliest of the label set."""

    best, worst = 1.0, 0.0
    choices = True

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        choices, right = need_choices(batch, "iia")
        scores = outputs.logits[:, 0].float().gather(1, choices)
        return (scores.argmax(1) == right).double()
