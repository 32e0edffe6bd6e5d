"""Probability maximisation: cross-entropy of the counterfactual label, the objective of DAS (arXiv 2303.02536).

Equation   - 1/|tokens| sum_k log p_intervened(label_k | base, label_<k)
Units      nats per label token, >= 0
Rows       interchange pairs; with rows="contrasts" the source's whole response is the label (DASVector)
"""

from __future__ import annotations

from typing import final

from das.batch import PairBatch
from das.objectives.base import Loss, Needs, log_probs, token_mean
from das.outputs import Outputs
from das.types import Rows


@final
class CounterfactualCE:
    """Cross-entropy of the counterfactual label's tokens under the intervened run."""

    def __init__(self, rows: Rows = "pairs") -> None:
        self.needs = Needs(rows, tokenwise=True)

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        picked = log_probs(outputs.logits).gather(-1, batch.label_ids[..., None])[..., 0]
        loss, tokens = token_mean(-picked, batch.label_mask)
        return Loss(loss, tokens, {"counterfactual_ce": loss.detach()})


OBJECTIVE = CounterfactualCE
