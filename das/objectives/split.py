"""SPLIT: likelihood of both responses with a hinge on their difference (arXiv 2602.02343).

Equation   lambda_p L_p + lambda_n L_n + gamma relu(theta - (L_n - L_p)),  mean over pairs
           L_p, L_n: token-mean cross-entropy of the winner and of the loser, each under its own factor
           direction +1: f ~ U{low, low + step, ..., high}; direction -1: -f
Units      nats
Rows       preferences
Raises     CapabilityError for other rows
"""

from __future__ import annotations

from typing import final

from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch
from das.objectives.base import Factored, Loss, Needs
from das.objectives.factor_grid import draw_factors
from das.objectives.sequences import scored
from das.outputs import Outputs


@final
class SPLIT(Factored):
    """Preference and utility together.

    Args:
        positive, negative: lambda_p and lambda_n.
        gamma, theta: weight and margin of the hinge.
        low, high, step: grid of factors.
    """

    def __init__(
        self,
        positive: float = 1.0,
        negative: float = 0.5,
        gamma: float = 8.0,
        theta: float = 0.3,
        low: float = 2.0,
        high: float = 20.0,
        step: float = 2.0,
    ) -> None:
        self.positive, self.negative, self.gamma, self.theta = positive, negative, gamma, theta
        self.low, self.high, self.step = low, high, step
        self.needs = Needs("preferences")

    def factors(self, batch: PairBatch) -> Float[Tensor, " batch"]:
        """Sampled, signed by the direction."""
        return batch.per_row["direction"] * draw_factors(batch, self.low, self.high, self.step)

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        now = scored(outputs.logits, batch, "split")
        winner, loser = -now.winner_mean, -now.loser_mean
        hinge = (self.theta - (loser - winner)).relu()
        loss = (self.positive * winner + self.negative * loser + self.gamma * hinge).mean()
        parts = {"split": loss, "winner": winner.mean(), "loser": loser.mean(), "hinge": hinge.mean()}
        return Loss(loss, len(winner), {name: value.detach() for name, value in parts.items()})


OBJECTIVE = SPLIT
