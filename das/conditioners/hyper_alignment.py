"""Hyper alignment: which token is exchanged with which, and along which subspace, made from a concept's description.

Equation   c = decoder(description; h of the base prompt)                         `das.conditioners.decoder`
           u = U c                                                                the concept's Householder vector
           a_ji = q_j . k_i / sqrt(hidden),  q_j = Q b_j + Q' c,  k_i = K s_i + K' c,  and  a_j,keep = q_j . K'' c
           w_j = softmax over all source tokens i and `keep` while training, one-hot at its argmax after it
Gives      "householder" (B, width), for `das.featurizers.householder`; "assignment" (B, P, S + 1), `keep` last, for
           `das.edits.assigned_swap`. Without a source, as when it steers, only the former.
Penalty    lambda(t) / B sum over rows and source tokens i of mass_i [mass_i > 1], mass_i = sum_j w_ji: a source token
           should go to one base token. lambda is 0 in the first tenth of training, then rises from weight / 2 to weight
Source     HyperDAS, arXiv 2503.10894
Raises     CapabilityError without a description
Deviation  u does not look at the source, so that the subspace of a concept exists without one
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from das.conditioners.base import Conditioner, ConditionerResult
from das.conditioners.decoder import Decoder, described, real
from das.context import Context
from das.shapes import Activation, PositionMask, SourceActivation
from das.types import CONCEPT, SOURCE

#: Share of training without a penalty.
_FREE = 0.1

Assignment = Float[Tensor, "batch position choice"]


@final
class HyperAlignment(Conditioner):
    """A hypernetwork whose output is a subspace and an assignment of positions.

    Args:
        width: activation size.
        hidden, layers, heads: size of the network.
        source: the source whose tokens are assigned.
        weight: of the penalty at the end of training.
    """

    sources = (CONCEPT,)
    gives = ("householder", "assignment")

    def __init__(
        self, width: int, hidden: int = 64, layers: int = 2, heads: int = 4, source: str = SOURCE, weight: float = 1.0
    ) -> None:
        super().__init__()
        self.width, self.hidden, self.layers, self.heads = width, hidden, layers, heads
        self.source, self.weight = source, weight
        self.decoder = Decoder(width, hidden, layers, heads)
        self.householder = nn.Linear(hidden, width)
        self.base, self.base_concept = nn.Linear(width, hidden), nn.Linear(hidden, hidden, bias=False)
        self.other, self.other_concept = nn.Linear(width, hidden), nn.Linear(hidden, hidden, bias=False)
        self.keep = nn.Linear(hidden, hidden)

    def forward(self, h: Activation, sources: Mapping[str, SourceActivation], ctx: Context) -> ConditionerResult:
        """The Householder vector and, with a source, the assignment, which is reported too."""
        shown = ctx.visible(h)
        concept = self.decoder(described(sources, ctx, len(h)), [(h, shown)])
        rows = {"householder": self.householder(concept)}
        if self.source not in sources:
            return rows, {}
        progress = ctx.trained(self)
        w = self._assigned(h, sources[self.source], concept, ctx, hard=progress >= 1.0)
        real_base = real(h, ctx.token_mask)
        rows["assignment"] = w
        return rows, {"assignment": w.detach(), "penalty/assignment": self._penalty(w, real_base, progress)}

    def _assigned(self, h: Activation, s: SourceActivation, concept: Tensor, ctx: Context, hard: bool) -> Assignment:
        query = self.base(h) + self.base_concept(concept)[:, None]
        key = self.other(s) + self.other_concept(concept)[:, None]
        choices = torch.cat([key, self.keep(concept)[:, None]], 1)
        scores = query @ choices.mT / self.hidden**0.5
        known = F.pad(real(s, ctx.source_masks.get(self.source)), (0, 1), value=True)
        w = scores.masked_fill(~known[:, None], -torch.inf).softmax(-1)
        return F.one_hot(w.argmax(-1), w.shape[-1]).to(w) if hard else w

    def _penalty(self, w: Assignment, real_base: PositionMask, progress: float) -> Float[Tensor, ""]:
        mass = torch.where(real_base[..., None], w[..., :-1], 0.0).sum(1)
        rise = 0.0 if progress < _FREE else (1 + (progress - _FREE) / (1 - _FREE)) / 2
        return self.weight * rise * torch.where(mass > 1, mass, 0.0).sum() / len(w)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "width": self.width, "hidden": self.hidden, "layers": self.layers, "heads": self.heads,
            "source": self.source, "weight": self.weight,
        }  # fmt: skip
