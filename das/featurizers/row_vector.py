"""Row vector: every row has a vector of its own, made by a conditioner; coordinates count in units of it (HyperSteer).

Equation   coordinates(h) = v^T h / ||v||^2,  lift(dz) = v dz,  v = "vector" (B, width) of the context
Shapes     h (B, P, width) -> z (B, P, 1)
Raises     CapabilityError where no conditioner made a vector
"""

from __future__ import annotations

from typing import Any, final

from das.context import Context
from das.featurizers.base import Featurizer, LinearFrame

_TINY = 1e-30


@final
class RowVector(Featurizer):
    """`das.featurizers.vector`, row by row."""

    rank = 1
    wants = ("vector",)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def frame(self, ctx: Context) -> LinearFrame:
        """Read in units of v, written along v."""
        v = ctx.row("vector")[..., None]
        return LinearFrame(v / v.square().sum(1, keepdim=True).clamp(min=_TINY), v)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width}
