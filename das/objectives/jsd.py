"""Distribution matching: Jensen-Shannon divergence to the counterfactual run, the objective of CDAS (arXiv 2602.05234).

Equation   1/|tokens| sum_k JS(p_intervened ‖ p_target),  JS(p, q) = KL(p‖m)/2 + KL(q‖m)/2,  m = (p + q)/2
           over the whole vocabulary, natural logarithm, log m = logaddexp(log p, log q) - log 2
Units      nats per label token, in [0, log 2]; symmetric; no gradient in the target
Rows       contrasts, both directions; with rows="pairs" interchange pairs whose source is itself the counterfactual
Raises     CapabilityError where the pairs have no target distribution
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch
from das.objectives.base import Loss, Needs, kl, log_probs, token_mean
from das.outputs import Outputs
from das.shapes import Logits
from das.types import Rows


def jensen_shannon(log_p: Logits, log_q: Logits) -> Float[Tensor, "batch label"]:
    """JS divergence of two log-distributions (B, K, V), in nats; what both rule out counts nothing."""
    neither = log_p.isneginf() & log_q.isneginf()
    log_m = torch.logaddexp(log_p.masked_fill(neither, 0.0), log_q.masked_fill(neither, 0.0)) - math.log(2)
    return 0.5 * (kl(log_p, log_m) + kl(log_q, log_m))


@final
class JSD:
    """JS divergence between the intervened and the counterfactual next-token distributions."""

    def __init__(self, rows: Rows = "contrasts") -> None:
        self.needs = Needs(rows, frozenset({"target"}), tokenwise=True)

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        log_p, log_q = log_probs(outputs.logits), log_probs(outputs.run("target", "jsd"))
        loss, tokens = token_mean(jensen_shannon(log_p, log_q), batch.label_mask)
        return Loss(loss, tokens, {"jsd": loss.detach()})


OBJECTIVE = JSD
