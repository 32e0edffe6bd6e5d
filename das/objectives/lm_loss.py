"""LM loss: cross-entropy of the concept's response to the neutral prompt, what the ReFT family trains on.

Equation   - 1/|tokens| sum_k log p_intervened(y_k | x, y_<k)
Units      nats per response token, >= 0
Rows       elicit: of every contrast (x, y, x_c, y_c) the neutral prompt x with the concept's response y_c
"""

from __future__ import annotations

from typing import final

from das.batch import PairBatch
from das.objectives.base import Loss, Needs, log_probs, token_mean
from das.outputs import Outputs
from das.types import Rows


@final
class LMLoss:
    """Cross-entropy of the response's tokens under the intervened run."""

    def __init__(self, rows: Rows = "elicit") -> None:
        self.needs = Needs(rows, tokenwise=True)

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        picked = log_probs(outputs.logits).gather(-1, batch.label_ids[..., None])[..., 0]
        loss, tokens = token_mean(-picked, batch.label_mask)
        return Loss(loss, tokens, {"lm_loss": loss.detach()})


OBJECTIVE = LMLoss
