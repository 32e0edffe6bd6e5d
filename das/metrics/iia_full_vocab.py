"""Interchange intervention accuracy over the whole vocabulary: stricter, since the model may say something else.

Equation   1[ for every label token k: argmax over the vocabulary of p_intervened(. | base, label_<k) == label_k ]
Units      share of rows, 0 to 1
"""

from __future__ import annotations

from typing import final

from das.batch import PairBatch
from das.metrics.base import PerRow
from das.outputs import Outputs


@final
class IIAFullVocab:
    """1 where every token of the counterfactual label is the likeliest token of all."""

    best, worst = 1.0, 0.0

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        hits = (outputs.logits.argmax(-1) == batch.label_ids) | ~batch.label_mask
        return hits.all(1).double()
