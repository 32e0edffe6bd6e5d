"""Clamp: coordinates are set to a constant, scaled by a steering factor where one is given.

Equation   z' = value                                  without a factor
           z' = |f| a+ if f > 0, |f| a- if f < 0       with per-row factors f (the meaning of "factor" in das)
Shapes     a+, a- (rank,): mean coordinates of the positive and the negative concept value; f (B,)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import Context
from das.edits.base import Edit, EditResult
from das.shapes import Coordinates, SourceActivation, SourceCoordinates

Vector = Float[Tensor, " rank"]


@final
class Clamp(Edit):
    """Set coordinates to `positive` (or, under a negative factor, to `negative`)."""

    positive: Tensor
    negative: Tensor

    def __init__(self, rank: int, positive: Vector | None = None, negative: Vector | None = None) -> None:
        super().__init__()
        self.rank = rank
        zeros = torch.zeros(rank)
        self.register_buffer("positive", zeros if positive is None else positive.detach().float().clone())
        self.register_buffer("negative", zeros.clone() if negative is None else negative.detach().float().clone())

    def forward(
        self, z: Coordinates, h: SourceActivation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The constant, scaled per row."""
        if ctx.factor is None:
            return self.positive.to(z).expand_as(z), {}
        factor = ctx.factor.to(z)[:, None, None]
        value = torch.where(factor >= 0, self.positive.to(z), self.negative.to(z))
        return (factor.abs() * value).expand_as(z), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank}
