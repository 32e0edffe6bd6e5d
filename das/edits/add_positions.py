"""Add positions: every position of the prompt's beginning gets a constant of its own (ActAdd, arXiv 2308.10248).

Equation   z'_t = z_t + f value_{t - start}    for real positions start <= t < start + length; others stay
Shapes     value (length, rank), f (B,) or 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from das.context import Context
from das.edits.base import Edit, EditResult
from das.errors import CapabilityError
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class AddPositions(Edit):
    """Shift coordinates by a value that depends on the position.

    Args:
        rank: number of coordinates.
        length: number of positions.
        start: the first of them.
        value: the shifts; zero if None.
    """

    factor = "any"
    value: Tensor

    def __init__(
        self, rank: int, length: int, start: int = 0, value: Float[Tensor, "length rank"] | None = None
    ) -> None:
        super().__init__()
        self.rank, self.length, self.start = rank, length, start
        self.register_buffer("value", torch.zeros(length, rank) if value is None else value.detach().float().clone())

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The shifted coordinates."""
        if ctx.position_ids is None:
            raise CapabilityError("this edit needs to know the real positions", got="no position ids")
        offset = ctx.position_ids.to(z.device) - self.start
        inside = (offset >= 0) & (offset < self.length)
        shift = self.value.to(z)[offset.clamp(0, self.length - 1)]
        return z + ctx.strength(z) * torch.where(inside[..., None], shift, 0.0), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank, "length": self.length, "start": self.start}
