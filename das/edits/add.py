"""Add: a constant is added to the coordinates, scaled by a steering factor where one is given (signed).

Equation   z' = z + f value     value (rank,), f (B,) or 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch

from das.batch import Context
from das.edits.base import Edit, EditResult
from das.edits.clamp import Vector
from das.shapes import Coordinates, SourceActivation, SourceCoordinates


@final
class Add(Edit):
    """Shift coordinates by `value`."""

    value: torch.Tensor

    def __init__(self, rank: int, value: Vector | None = None) -> None:
        super().__init__()
        self.rank = rank
        self.register_buffer("value", torch.zeros(rank) if value is None else value.detach().float().clone())

    def forward(
        self, z: Coordinates, h: SourceActivation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The shifted coordinates."""
        factor = 1.0 if ctx.factor is None else ctx.factor.to(z)[:, None, None]
        return z + factor * self.value.to(z), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank}
