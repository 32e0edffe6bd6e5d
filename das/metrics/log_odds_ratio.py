"""Log odds-ratio of CausalGym (arXiv 2402.12560): how far the interchange moves the odds of the two labels.

Equation   log p(y_b | base) / p(y_s | base) + log p_intervened(y_s | base) / p_intervened(y_b | base)
           y_b: the base's label; y_s: the counterfactual label, in CausalGym the source's own
Units      nats; 0 for an edit that does nothing, and in rows whose two labels are the same
Raises     CapabilityError without a label set
"""

from __future__ import annotations

import math
from typing import final

from das.batch import PairBatch
from das.metrics.base import PerRow, label_logits
from das.outputs import FrozenRun, Outputs


@final
class LogOddsRatio:
    """Log odds of the counterfactual label against the base's, minus the same of the run not intervened on."""

    best, worst = math.inf, -math.inf
    choices = True
    runs: frozenset[FrozenRun] = frozenset({"reference"})

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row; log odds are differences of logits."""
        base, counterfactual = label_logits(outputs.run("reference", "log_odds_ratio"), batch, "log_odds_ratio")
        base_now, counterfactual_now = label_logits(outputs.logits, batch, "log_odds_ratio")
        return (base - counterfactual) + (counterfactual_now - base_now)
