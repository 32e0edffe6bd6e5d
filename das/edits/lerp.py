"""Lerp: coordinates move towards a constant, all the way without a factor (erasure to a mean, ConsReFT).

Equation   z' = z + f (value - z)        value (rank,), f (B,) or 1: 0 changes nothing, below 0 moves away from it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import nn

from das.context import Context
from das.edits.base import Edit, EditResult
from das.factors import RankVector
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class Lerp(Edit):
    """Move coordinates towards `value` by a share, the factor.

    Args:
        rank: number of coordinates.
        value: the constant; zero if None.
        learned: train it (ConsReFT).
    """

    factor = "any"
    one_way = True
    affine = True

    def __init__(self, rank: int, value: RankVector | None = None, learned: bool = False) -> None:
        super().__init__()
        self.rank, self.learned = rank, learned
        start = torch.zeros(rank) if value is None else value.detach().float().clone()
        self.value = nn.Parameter(start, requires_grad=learned)

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The constant, or what lies a factor's share of the way to it."""
        value = self.value.to(z).expand_as(z)
        return (value if ctx.factor is None else z + ctx.strength(z) * (value - z)), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank, "learned": self.learned}
