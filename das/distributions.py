"""Distributions over the vocabulary and the probabilities of labels, in fp32 or better whatever the model's dtype."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch
from das.shapes import Logits


def log_probs(logits: Logits) -> Logits:
    """Log-softmax over the vocabulary in at least fp32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def kl(log_p: Logits, log_q: Logits) -> Float[Tensor, "batch label"]:
    """KL(p ‖ q) of log-distributions (B, K, V), in nats, the expectation under the first argument; 0 log 0 = 0."""
    return (log_p.exp() * torch.where(log_p.isneginf(), 0.0, log_p - log_q)).sum(-1)


def label_log_probs(logits: Logits, batch: PairBatch) -> Float[Tensor, " batch"]:
    """Sum over real label tokens of log p(label_k), at least fp32."""
    picked = log_probs(logits).gather(-1, batch.label_ids[..., None])[..., 0]
    return torch.where(batch.label_mask, picked, 0.0).sum(1)
