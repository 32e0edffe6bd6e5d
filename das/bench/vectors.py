"""Benchmarks on plain vectors: activations that something made, a frozen readout of them, and no language model.

`Vectors` is a runner (`das.training.module.Runner`): interventions are trained by the same Lightning module and
measured by the same metrics as those on language models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from das.batch import PairBatch, Positions, TokenBatch
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet, Placement
from das.metrics.base import SplitMean
from das.metrics.fldd import FLDD
from das.metrics.iia import IIA
from das.outputs import Outputs
from das.types import Site

States = Float[Tensor, "pair width"]
Labels = Int[Tensor, " pair"]
#: Logits over the labels.
Readout = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class Vectors:
    """Interchange pairs of activations.

    Attributes:
        base: activations that are intervened on.
        sources: name -> activations that are read.
        readout: activations (..., width) -> logits (..., labels); frozen.
        base_label, label: of the base as it is, and under the interchange.
    """

    base: States
    sources: Mapping[str, States]
    readout: Readout
    base_label: Labels
    label: Labels

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float = 1.0) -> Outputs:
        """Logits of the intervened activations, and of the base's."""
        base = self.base[batch.rows][:, None]
        sources = {name: h[batch.rows][:, None] for name, h in self.sources.items()}
        edited = interventions[0](base, {name: sources[name] for name in interventions[0].edit.sources}).activation
        return Outputs(self.readout(edited), {"reference": self.readout(base)})

    def batch(self, rows: Int[Tensor, " rows"]) -> PairBatch:
        """Some pairs; what positions refer to is one token that is nowhere."""
        n = len(rows)
        one = TokenBatch(torch.zeros(n, 2, dtype=torch.long), torch.ones(n, 2, dtype=torch.bool))
        where = Positions(torch.zeros(n, 1, dtype=torch.long), torch.ones(n, 1, dtype=torch.bool))
        before, after = self.base_label[rows], self.label[rows]
        count = self.readout(self.base[:1]).shape[-1]
        return PairBatch(
            base=one, sources=dict.fromkeys(self.sources, one), writes=(where,),
            reads=(dict.fromkeys(self.sources, where),), label_positions=where.index, label_ids=after[:, None],
            label_mask=where.mask, rows=rows, changed=before != after, choices=torch.arange(count).expand(n, -1),
            base_choice=before, counterfactual_choice=after,
        )  # fmt: skip

    def drawn(self, size: int, seed: int) -> PairBatch:
        """Pairs drawn with replacement."""
        generator = torch.Generator().manual_seed(seed)
        return self.batch(torch.randint(0, len(self.base), (size,), generator=generator))

    @torch.no_grad()
    def measure(self, intervention: Intervention) -> dict[str, float]:
        """IIA and FLDD on all pairs, on the changed ones and on the others."""
        means, everything = SplitMean({"iia": IIA(), "fldd": FLDD()}), self.batch(torch.arange(len(self.base)))
        means.update(self.outputs(everything, placed(intervention)), everything)
        return means.compute()


def placed(intervention: Intervention) -> InterventionSet:
    """One intervention, at the only site there is."""
    reads = {name: Site(0) for name in intervention.edit.sources}
    return InterventionSet([(Placement(Site(0), reads), intervention)])
