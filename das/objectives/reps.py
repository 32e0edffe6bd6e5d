"""RePS: reference-free preference steering, scaled, in both directions, with sampled factors (arXiv 2505.20809).

Equation   - log sigmoid(s log p(y_w)/|y_w| - log p(y_l)/|y_l|),  s = max(log p_ref(y_l) - log p_ref(y_w), 1),  averaged
           direction +1: added with f ~ U{low, low + 2, ..., high}, drawn for winner and loser on their own
           direction -1: nulled out (f = 0), or with `suppress="subtract"` added with -f
Units      nats per pair; s carries no gradient
Rows       preferences
Raises     CapabilityError for other rows, UnknownChoiceError
"""

from __future__ import annotations

from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from das.batch import PairBatch
from das.errors import UnknownChoiceError
from das.objectives.base import Factored, Loss, Needs
from das.objectives.factor_grid import draw_factors
from das.objectives.sequences import scored
from das.outputs import Outputs

Suppress = Literal["null", "subtract"]


@final
class RePS(Factored):
    """Scaled SimPO with steering factors.

    Args:
        low, high: smallest and largest factor.
        step: between factors.
        suppress: how direction -1 is steered.
    """

    def __init__(self, low: float = 2.0, high: float = 20.0, step: float = 2.0, suppress: Suppress = "null") -> None:
        if suppress not in ("null", "subtract"):
            raise UnknownChoiceError("way to suppress", suppress, ("null", "subtract"))
        self.low, self.high, self.step, self.suppress = low, high, step, suppress
        self.needs = Needs("preferences", frozenset({"reference"}))

    def factors(self, batch: PairBatch) -> Float[Tensor, " batch"]:
        """Sampled where the concept is elicited, 0 (or negative) where it is suppressed."""
        drawn = draw_factors(batch, self.low, self.high, self.step)
        away = torch.zeros_like(drawn) if self.suppress == "null" else -drawn
        return torch.where(batch.per_row["direction"] > 0, drawn, away)

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        now = scored(outputs.logits, batch, "reps")
        before = scored(outputs.run("reference", "reps"), batch, "reps")
        scale = (before.loser - before.winner).clamp(min=1.0)
        loss = -F.logsigmoid(scale * now.winner_mean - now.loser_mean).mean()
        return Loss(loss, len(now.winner), {"reps": loss.detach()})


OBJECTIVE = RePS
