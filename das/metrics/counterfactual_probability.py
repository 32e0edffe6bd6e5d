"""Probability of the whole counterfactual label in the intervened run.

Equation   prod over label tokens k of p_intervened(label_k | base, label_<k)
Units      0 to 1
"""

from __future__ import annotations

from typing import final

from das.batch import PairBatch
from das.distributions import label_log_probs
from das.metrics.base import PerRow
from das.outputs import Outputs


@final
class CounterfactualProbability:
    """exp of the label's summed log-probability."""

    best, worst = 1.0, 0.0

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        return label_log_probs(outputs.logits, batch).double().exp()
