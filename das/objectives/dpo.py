"""DPO: direct preference optimisation of an intervention, against the run without it (arXiv 2305.18290).

Equation   - log sigmoid(beta [(log p(y_w) - log p_ref(y_w)) - (log p(y_l) - log p_ref(y_l))]),  mean over pairs
           log p sums over tokens; p_ref is the un-intervened model on the same input
Units      nats per pair, log 2 where the intervention does nothing
Rows       contrast_preferences (for interchanges) or preferences (for an added vector, with the direction as factor)
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
class DPO(Factored):
    """Preference over the source's response, relative to the unmodified model.

    Args:
        beta: how sharp.
        rows: kind of preferences.
    """

    def __init__(self, beta: float = 0.1, rows: Rows = "contrast_preferences") -> None:
        self.beta, self.needs = beta, Needs(rows, frozenset({"reference"}))

    def factors(self, batch: PairBatch) -> Float[Tensor, " batch"]:
        """The direction: +1 where the concept's response wins, -1 where the neutral one does."""
        return batch.per_row["direction"]

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        now = scored(outputs.logits, batch, "dpo")
        before = scored(outputs.run("reference", "dpo"), batch, "dpo")
        margin = (now.winner - before.winner) - (now.loser - before.loser)
        loss = -F.logsigmoid(self.beta * margin).mean()
        share = (margin > 0).float().mean()
        return Loss(loss, len(margin), {"dpo": loss.detach(), "prefers_winner": share.detach()})


OBJECTIVE = DPO
