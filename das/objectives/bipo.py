"""BiPO: bi-directional preference optimisation of a steering vector (arXiv 2406.00045).

Equation   - log sigmoid(d beta [log p_{h + d v}(y_w)/p(y_w) - log p_{h + d v}(y_l)/p(y_l)]),  d = +1 and -1, averaged
Units      nats per pair, log 2 at v = 0
Rows       preferences; d = -1 with y_w and y_l exchanged is direction -1
Raises     CapabilityError for other rows
Deviation  the authors draw d per batch; here every batch holds both, which is their loss's expectation with less noise
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


@final
class BiPO(Factored):
    """Preference in both directions with the vector added and subtracted.

    Args:
        beta: how sharp.
    """

    def __init__(self, beta: float = 0.1) -> None:
        self.beta, self.needs = beta, Needs("preferences", frozenset({"reference"}))

    def factors(self, batch: PairBatch) -> Float[Tensor, " batch"]:
        """d, the direction."""
        return batch.per_row["direction"]

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        now = scored(outputs.logits, batch, "bipo")
        before = scored(outputs.run("reference", "bipo"), batch, "bipo")
        margin = (now.winner - before.winner) - (now.loser - before.loser)
        loss = -F.logsigmoid(self.beta * margin).mean()
        return Loss(loss, len(margin), {"bipo": loss.detach()})


OBJECTIVE = BiPO
