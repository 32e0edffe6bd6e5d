"""SimPO: preference by length-normalised likelihood, without a reference (arXiv 2405.14734).

Equation   - log sigmoid(beta log p(y_w)/|y_w| - beta log p(y_l)/|y_l| - gamma),  mean over pairs
Units      nats per pair
Rows       contrast_preferences or preferences
Raises     CapabilityError for other rows
"""

from __future__ import annotations

from typing import final

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from das.batch import PairBatch
from das.objectives.base import Factored, Loss, Needs
from das.objectives.sequences import scored
from das.outputs import Outputs
from das.types import Rows


@final
class SimPO(Factored):
    """Reference-free preference.

    Args:
        beta: how sharp.
        gamma: margin that the winner must have.
        rows: kind of preferences.
    """

    def __init__(self, beta: float = 2.0, gamma: float = 0.5, rows: Rows = "contrast_preferences") -> None:
        self.beta, self.gamma, self.needs = beta, gamma, Needs(rows)

    def factors(self, batch: PairBatch) -> Float[Tensor, " batch"]:
        """The direction."""
        return batch.per_row["direction"]

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        now = scored(outputs.logits, batch, "simpo")
        loss = -F.logsigmoid(self.beta * (now.winner_mean - now.loser_mean) - self.gamma).mean()
        return Loss(loss, len(now.winner), {"simpo": loss.detach()})


OBJECTIVE = SimPO
