"""Scale: coordinates grow by a share of themselves.

Equation   z' = z + f amount z         f (B,) or 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from das.context import Context
from das.edits.base import Edit, EditResult
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class Scale(Edit):
    """Multiply coordinates by 1 + amount."""

    factor = "any"
    one_way = True
    affine = True

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = float(amount)

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The scaled coordinates."""
        return z + ctx.strength(z) * self.amount * z, {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"amount": self.amount}
