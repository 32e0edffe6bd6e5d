"""How far the intervened run is from the run it should be equal to: KL(p_target ‖ p_intervened).

Equation   1/|label| sum_k KL(p_target(. | source, label_<k) ‖ p_intervened(. | base, label_<k)), over the vocabulary
Units      nats per label token, >= 0
Raises     CapabilityError where no source is itself the counterfactual
"""

from __future__ import annotations

import math
from typing import final

import torch

from das.batch import PairBatch
from das.distributions import kl, log_probs
from das.metrics.base import PerRow
from das.outputs import FrozenRun, Outputs


@final
class KLTargetToIntervened:
    """Mean over the label's tokens."""

    best, worst = 0.0, math.inf
    runs: frozenset[FrozenRun] = frozenset({"target"})

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        target = log_probs(outputs.run("target", "kl_target_to_intervened"))
        each = torch.where(batch.label_mask, kl(target, log_probs(outputs.logits)), 0.0)
        return each.sum(1).double() / batch.label_mask.sum(1)
