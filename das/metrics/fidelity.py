"""Fidelity of CDAS (arXiv 2602.05234): the divergence from the source's own run at the first response token.

Equation   KL(p(. | source prompt) ‖ p_intervened(. | base prompt)), over the vocabulary
Units      nats, >= 0; lower is more faithful
Raises     CapabilityError where no source is itself the counterfactual
"""

from __future__ import annotations

import math
from typing import final

from das.batch import PairBatch
from das.distributions import kl, log_probs
from das.metrics.base import PerRow
from das.outputs import FrozenRun, Outputs


@final
class Fidelity:
    """KL at the first response token alone."""

    best, worst = 0.0, math.inf
    runs: frozenset[FrozenRun] = frozenset({"target"})

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        target = outputs.run("target", "fidelity")[:, :1]
        return kl(log_probs(target), log_probs(outputs.logits[:, :1]))[:, 0].double()
