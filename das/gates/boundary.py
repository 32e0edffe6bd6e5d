"""Boundary: the first b*rank coordinates are edited, b learned (Boundless DAS, arXiv 2305.08809).

Equation   m_k = sigmoid((b r - k - 1/2) / T), k = 0 .. r - 1        b in [1e-3, 1], T annealed; sum_k m_k -> b r
           m_k = sigmoid(k / T) sigmoid((b r - k) / T)                with `left_factor`, as pyvene does it
           m_k = 1[k + 1/2 < b r]                                     after training, without `left_factor`
Penalty    weight * b; "boundary" reports b
Why not the left factor by default: sigmoid(0) = 1/2 halves coordinate 0 however low T falls, so no swap is ever full.
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Bool
from torch import nn

from das.context import Context
from das.gates.base import Gate, GateResult, Selective
from das.gates.schedule import Temperature
from das.part import Constrained, Grouped, ParamGroup
from das.shapes import Activation, Coordinates

_SMALLEST = 1e-3


@final
class Boundary(Gate, Selective, Grouped, Constrained):
    """A learned prefix of the coordinates.

    Args:
        rank: number of coordinates, r.
        start, end: temperature at the first and at the last step, in coordinates.
        init: b before training.
        weight: of the penalty.
        left_factor: multiply by pyvene's left sigmoid, and stay soft after training.
        lr_scale: how much faster the boundary learns than everything else.
    """

    constant = True

    def __init__(
        self,
        rank: int,
        start: float = 50.0,
        end: float = 0.1,
        init: float = 0.5,
        weight: float = 1.0,
        left_factor: bool = False,
        lr_scale: float = 10.0,
    ) -> None:
        super().__init__()
        self.rank, self.init, self.weight, self.left_factor, self.lr_scale = rank, init, weight, left_factor, lr_scale
        self.temperature = Temperature(start, end)
        self.boundary = nn.Parameter(torch.tensor(float(init)))
        self.register_buffer("index", torch.arange(rank).float(), persistent=False)

    index: torch.Tensor

    def forward(self, z: Coordinates, h: Activation, ctx: Context) -> GateResult:
        """The mask, (1, 1, rank)."""
        b = self.boundary.clamp(_SMALLEST, 1.0)
        aux = {"boundary": b, "penalty/boundary": self.weight * b}
        return self.mask(ctx.trained(self)).to(z)[None, None], aux

    def mask(self, progress: float = 1.0) -> torch.Tensor:
        """m, (rank,), at a share of training."""
        limit = self.boundary.clamp(_SMALLEST, 1.0) * self.rank
        temperature = self.temperature.at(progress)
        if self.left_factor:
            return (self.index / temperature).sigmoid() * ((limit - self.index) / temperature).sigmoid()
        if progress >= 1.0:
            return (self.index + 0.5 < limit).float()
        return ((limit - self.index - 0.5) / temperature).sigmoid()

    def support(self) -> Bool[torch.Tensor, " rank"]:
        """Coordinates with at least half of their change let through after training."""
        return self.mask() >= 0.5

    def groups(self) -> list[ParamGroup]:
        """The boundary learns faster than what it bounds, and is not pulled to zero."""
        return [ParamGroup([self.boundary], self.lr_scale, decay=False)]

    def invariants(self) -> dict[str, float]:
        """Nothing can be violated: b is clipped wherever it is used."""
        return {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "rank": self.rank, "start": self.temperature.start, "end": self.temperature.end, "init": self.init,
            "weight": self.weight, "left_factor": self.left_factor, "lr_scale": self.lr_scale,
        }  # fmt: skip

    @torch.no_grad()
    def retract(self) -> None:
        """Keep b in [1e-3, 1]: outside it would have no gradient, and never come back."""
        self.boundary.clamp_(_SMALLEST, 1.0)
