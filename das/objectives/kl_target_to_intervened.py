"""Distribution matching: KL(p_target ‖ p_intervened), the expectation taken under p_target.

The argument order is in the name because "forward" and "reverse" mean opposite things in different papers and code.

Equation   1/|tokens| sum_k sum_v p_target(v) (log p_target(v) - log p_intervened(v))
Units      nats per label token, >= 0; no gradient in the target
Rows       contrasts, both directions; with rows="pairs" interchange pairs whose source is itself the counterfactual
Raises     CapabilityError where the pairs have no target distribution
"""

from __future__ import annotations

from typing import final

from das.batch import PairBatch
from das.objectives.base import Loss, Needs, kl, log_probs, token_mean
from das.outputs import Outputs
from das.types import Rows


@final
class KLTargetToIntervened:
    """KL(p_target ‖ p_intervened) over the vocabulary."""

    def __init__(self, rows: Rows = "contrasts") -> None:
        self.needs = Needs(rows, frozenset({"target"}), tokenwise=True)

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        log_p, log_q = log_probs(outputs.logits), log_probs(outputs.run("target", "kl_target_to_intervened"))
        loss, tokens = token_mean(kl(log_q, log_p), batch.label_mask)
        return Loss(loss, tokens, {"kl_target_to_intervened": loss.detach()})


OBJECTIVE = KLTargetToIntervened
