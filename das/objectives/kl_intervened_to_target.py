"""Distribution matching: KL(p_intervened ‖ p_target), the expectation taken under p_intervened.

The argument order is in the name because "forward" and "reverse" mean opposite things in different papers and code.

Equation   1/|tokens| sum_k sum_v p_intervened(v) (log p_intervened(v) - log p_target(v))
Units      nats per label token, >= 0; no gradient in the target
Raises     CapabilityError where the pairs have no target distribution
"""

from __future__ import annotations

from typing import final

from das.batch import Outputs, PairBatch
from das.objectives.base import Loss, kl, log_distributions, token_mean


@final
class KLIntervenedToTarget:
    """KL(p_intervened ‖ p_target) over the vocabulary."""

    needs_target = True

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        log_p, log_q = log_distributions(outputs, "kl_intervened_to_target")
        loss, tokens = token_mean(kl(log_p, log_q), batch.label_mask)
        return Loss(loss, tokens, {"kl_intervened_to_target": loss.detach()})
