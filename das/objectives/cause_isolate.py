"""Cause and isolate: interchanges change what they are about and nothing else, the loss of MDAS (arXiv 2402.17700).

Equation   1/|tokens| sum_rows w sum_k - log p_intervened(label_k | base, label_<k)
           w = `cause` for pairs whose label changes, `isolate` for pairs whose label must stay
Units      nats per label token, >= 0
Rows       interchange pairs; as many of the one kind as of the other, or weights that make up for it
"""

from __future__ import annotations

from typing import final

import torch

from das.batch import PairBatch
from das.objectives.base import Loss, Needs, log_probs, token_mean
from das.outputs import Outputs


@final
class CauseIsolate:
    """Cross-entropy of the counterfactual label, weighted by whether it differs from the base's.

    Args:
        cause: weight of pairs whose label changes.
        isolate: weight of pairs whose label stays.
    """

    def __init__(self, cause: float = 1.0, isolate: float = 1.0) -> None:
        self.cause, self.isolate, self.needs = cause, isolate, Needs()

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        each = -log_probs(outputs.logits).gather(-1, batch.label_ids[..., None])[..., 0]
        changed = batch.changed.to(each.device)[:, None]
        loss, tokens = token_mean(torch.where(changed, self.cause, self.isolate) * each, batch.label_mask)
        kinds = {"cause": batch.label_mask & changed, "isolate": batch.label_mask & ~changed}
        return Loss(loss, tokens, {name: token_mean(each, mask)[0].detach() for name, mask in kinds.items()})


OBJECTIVE = CauseIsolate
