"""Affine: coordinates are computed from the activation itself, the edit of the ReFT family (arXiv 2404.03592).

Equation   z' = W h + b          (LoReFT; with coordinates that are the neurons, any affine map)
           z' = z + W h + b      with `relative` (DiReFT)
           under a steering factor f the change is f times as large: z + f (z' - z)
Shapes     W (rank, width), b (rank,), fp32
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from das.context import Context
from das.edits.base import Edit, EditResult
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class Affine(Edit):
    """An affine function of the activation.

    Args:
        width: activation size.
        rank: number of coordinates.
        relative: add it to the coordinates instead of replacing them.
        weight, bias: W and b; drawn like `nn.Linear`'s if None.
        learned: False freezes them.
    """

    factor = "any"
    one_way = True
    affine = True

    def __init__(
        self,
        width: int,
        rank: int,
        relative: bool = False,
        weight: Float[Tensor, "rank width"] | None = None,
        bias: Float[Tensor, " rank"] | None = None,
        learned: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.rank, self.relative, self.learned = width, rank, relative, learned
        fresh = nn.Linear(width, rank)
        start = fresh.weight if weight is None else weight
        self.weight = nn.Parameter(start.detach().float().clone(), requires_grad=learned)
        offset = fresh.bias if bias is None else bias
        self.bias = nn.Parameter(offset.detach().float().clone(), requires_grad=learned)

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """W h + b, on top of z or instead of it."""
        new = h @ self.weight.to(h.dtype).T + self.bias.to(h.dtype)
        new = z + new if self.relative else new
        if ctx.factor is not None:
            new = z + ctx.strength(z) * (new - z)
        return new, {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "rank": self.rank, "relative": self.relative, "learned": self.learned}
