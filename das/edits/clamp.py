"""Clamp: coordinates are set to a constant, scaled by a steering factor where one is given.

Equation   z' = a+                                     without a factor
           z' = |f| a+ if f > 0, |f| a- if f < 0       with per-row factors f (the meaning of "factor" in das)
Shapes     a+, a- (rank,): mean coordinates of the positive and the negative concept value; f (B,)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from das.context import Context
from das.edits.base import Calibrated, Edit, EditResult, Valued
from das.factors import Factors, RankVector
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class Clamp(Edit, Calibrated, Valued):
    """Set coordinates to `positive` (or, under a negative factor, to `negative`).

    Args:
        rank: number of coordinates.
        positive, negative: a+ and a-; zero if None.
        learned: train a+ (ConsReFT).
    """

    factor = "nonzero"
    affine = True
    negative: Tensor

    def __init__(
        self, rank: int, positive: RankVector | None = None, negative: RankVector | None = None, learned: bool = False
    ) -> None:
        super().__init__()
        self.rank, self.learned = rank, learned
        self.positive = nn.Parameter(_vector(positive, rank), requires_grad=learned)
        self.register_buffer("negative", _vector(negative, rank))

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The constant, scaled per row."""
        if ctx.factor is None:
            return self.positive.to(z).expand_as(z), {}
        factor = ctx.strength(z)
        value = torch.where(factor >= 0, self.positive.to(z), self.negative.to(z))
        return (factor.abs() * value).expand_as(z), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank, "learned": self.learned}

    def calibrated(self, factors: Factors) -> Clamp:
        """At the concept's two means."""
        return Clamp(self.rank, factors.positive, factors.negative)

    def at(self, value: RankVector) -> Clamp:
        """At raw coordinates."""
        return Clamp(self.rank, value)


def _vector(value: RankVector | None, rank: int) -> Tensor:
    return torch.zeros(rank) if value is None else value.detach().float().clone()
