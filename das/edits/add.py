"""Add: a constant is added to the coordinates, scaled by a steering factor where one is given (signed).

Equation   z' = z + f value     value (rank,), f (B,) or 1
Calibrated by a concept's statistics, value is a+ - a- (unit "gap") or the largest relu(z) seen (unit "maximum").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, final

import torch
from torch import nn

from das.context import Context
from das.edits.base import Calibrated, Edit, EditResult, Valued
from das.errors import UnknownChoiceError
from das.factors import Factors, RankVector
from das.shapes import Activation, Coordinates, SourceCoordinates

Unit = Literal["gap", "maximum"]


@final
class Add(Edit, Calibrated, Valued):
    """Shift coordinates by `value`.

    Args:
        rank: number of coordinates.
        value: the shift; zero if None.
        learned: train it (LoBiReFT).
        unit: what a factor of one means once calibrated.
    """

    factor = "any"
    affine = True

    def __init__(self, rank: int, value: RankVector | None = None, learned: bool = False, unit: Unit = "gap") -> None:
        super().__init__()
        if unit not in ("gap", "maximum"):
            raise UnknownChoiceError("unit of a shift", unit, ("gap", "maximum"))
        self.rank, self.learned, self.unit = rank, learned, unit
        start = torch.zeros(rank) if value is None else value.detach().float().clone()
        self.value = nn.Parameter(start, requires_grad=learned)

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The shifted coordinates."""
        return z + ctx.strength(z) * self.value.to(z), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank, "learned": self.learned, "unit": self.unit}

    def calibrated(self, factors: Factors) -> Add:
        """By the distance of the concept's two means, or by its largest rectified coordinate."""
        value = factors.positive - factors.negative if self.unit == "gap" else factors.maximum
        return Add(self.rank, value, unit=self.unit)

    def at(self, value: RankVector) -> Add:
        """By raw coordinates."""
        return Add(self.rank, value, unit=self.unit)
