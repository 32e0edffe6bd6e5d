"""Distribution matching: Jensen-Shannon divergence to the counterfactual run, the objective of CDAS (arXiv 2602.05234).

Equation   1/|tokens| sum_k JS(p_intervened ‖ p_target),  JS(p, q) = KL(p‖m)/2 + KL(q‖m)/2,  m = (p + q)/2
           over the whole vocabulary, natural logarithm, log m = logaddexp(log p, log q) - log 2
Units      nats per label token, in [0, log 2]; symmetric; no gradient in the target
Rows       contrasts, both directions; with rows="pairs" interchange pairs whose source is itself the counterfactual
Raises     CapabilityError where the pairs have no target distribution
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from das.batch import PairBatch
from das.objectives.base import Loss, Needs, log_probs, token_mean
from das.outputs import Outputs
from das.shapes import Logits
from das.types import Rows


def jensen_shannon(log_p: Logits, log_q: Logits) -> Float[Tensor, "batch label"]:
    """JS divergence of two log-distributions (B, K, V), in nats; what both rule out counts nothing."""
    return _JensenShannon.apply(log_p, log_q)


@final
class _JensenShannon(torch.autograd.Function):
    """The terms of the sum, p log(p/m) and q log(q/m), are twice its derivatives by log p and log q: those of m cancel.

    So they are all there is to keep, where autograd would keep a dozen tensors of the vocabulary's size.
    """

    @staticmethod
    def forward(ctx: Any, log_p: Logits, log_q: Logits) -> Float[Tensor, "batch label"]:
        log_m = torch.logaddexp(log_p, log_q).sub_(math.log(2))
        terms = [
            log_x.exp().mul_((log_x - log_m).masked_fill_(log_x.isneginf(), 0.0)).mul_(0.5) for log_x in (log_p, log_q)
        ]
        ctx.save_for_backward(*(t if need else None for t, need in zip(terms, ctx.needs_input_grad, strict=True)))
        return terms[0].sum(-1) + terms[1].sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(None if term is None else upstream[..., None] * term for term in ctx.saved_tensors)


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
