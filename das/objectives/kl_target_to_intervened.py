"""Distribution matching: KL(p_target ‖ p_intervened), the expectation taken under p_target.

The argument order is in the name because "forward" and "reverse" mean opposite things in different papers and code.

Equation   1/|tokens| sum_k sum_v p_target(v) (log p_target(v) - log p_intervened(v))
Units      nats per label token, >= 0; no gradient in the target
Raises     CapabilityError where the pairs have no target distribution
"""

from __future__ import annotations

from typing import final

from das.batch import Outputs, PairBatch
from das.objectives.base import Loss, kl, log_distributions, token_mean


@final
class KLTargetToIntervened:
    """KL(p_target ‖ p_intervened) over the vocabulary."""

    needs_target = True

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        log_p, log_q = log_distributions(outputs, "kl_target_to_intervened")
        loss, tokens = token_mean(kl(log_q, log_p), batch.label_mask)
        return Loss(loss, tokens, {"kl_target_to_intervened": loss.detach()})
