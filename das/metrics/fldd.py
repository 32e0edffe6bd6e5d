"""Fractional logit difference decrease (FLDD; Makelov et al., arXiv 2311.17030).

Equation   FLDD = 1 - mean LD_patched / mean LD_clean = mean(LD_clean - LD_patched) / mean LD_clean
           LD = logit(base label) - logit(counterfactual label); clean: the base, not intervened on
Units      1: 0 nothing changed, 1 the preference is gone, 2 it is reversed in full
           A row holds the decrease in logits; means are divided, rows never are. NaN where both labels are the same
Raises     CapabilityError without a label set

The reply (arXiv 2401.12631) argues that FLDD misleads where it is read as localisation: report it beside `iia`.
"""

from __future__ import annotations

import math
from typing import final

from das.batch import PairBatch
from das.metrics.base import PerRow, label_logits
from das.outputs import FrozenRun, Outputs


@final
class FLDD:
    """Decrease of the logit difference, in units of the clean one."""

    best, worst = math.inf, -math.inf
    choices = True
    runs: frozenset[FrozenRun] = frozenset({"reference"})

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """LD_clean - LD_patched, one value per row."""
        base, counterfactual = label_logits(outputs.logits, batch, "fldd")
        return self.unit(outputs, batch) - (base - counterfactual)

    def unit(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """LD_clean, one value per row."""
        base, counterfactual = label_logits(outputs.run("reference", "fldd"), batch, "fldd")
        return base - counterfactual
