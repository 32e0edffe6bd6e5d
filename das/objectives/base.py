"""The interface of an objective, and the one way tokens are averaged.

Every loss is a sum over the real label tokens of the batch divided by their number (not a mean of per-row means), so
padding and the way rows are batched do not change what is minimised. Maths in fp32 whatever the model's dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import Outputs, PairBatch
from das.errors import CapabilityError
from das.shapes import LabelMask, Logits


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise, its named parts for the log, and how many tokens it averages over."""

    total: Float[Tensor, ""]
    tokens: int
    parts: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """A callable object; `needs_target` says whether it looks at the counterfactual run's own distribution."""

    needs_target: bool

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        ...


def token_mean(values: Float[Tensor, "batch label"], mask: LabelMask) -> tuple[Float[Tensor, ""], int]:
    """Sum over real tokens / their number."""
    tokens = int(mask.sum())
    return torch.where(mask, values, 0.0).sum() / max(tokens, 1), tokens


def log_probs(logits: Logits) -> Logits:
    """Log-softmax over the vocabulary in at least fp32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def log_distributions(outputs: Outputs, objective: str) -> tuple[Logits, Logits]:
    """(log p_intervened, log p_target); the target carries no gradient."""
    if outputs.target_logits is None:
        raise CapabilityError(
            f"objective {objective!r} matches the counterfactual run's distribution, and these pairs have none",
            got="pairs without a target",
            remedy="use objective=counterfactual_ce, or pairs whose source is itself the counterfactual",
        )
    return log_probs(outputs.logits), log_probs(outputs.target_logits.detach())


def kl(log_p: Logits, log_q: Logits) -> Float[Tensor, "batch label"]:
    """KL(p ‖ q) of log-distributions (B, K, V), in nats, the expectation under the first argument."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)
