"""Projection: a learned linear map without orthonormality, and its transpose (NoReFT, NoDiReFT; arXiv 2404.03592).

Equation   coordinates(h) = P h,  lift(dz) = P^T dz,  P (rank, width) free
No projection in the mathematical sense unless P P^T = I: with a swap, P h' = P s does not hold. `Rotation` does that.
"""

from __future__ import annotations

from typing import Any, final

from torch import nn

from das.context import Context
from das.featurizers.base import Featurizer, LinearFrame
from das.geometry import check_rank


@final
class Projection(Featurizer):
    """A free linear map, drawn like `nn.Linear`'s."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        check_rank(width, rank)
        self.width, self.rank = width, rank
        self.weight = nn.Linear(width, rank, bias=False).weight

    def frame(self, ctx: Context) -> LinearFrame:
        """P and its transpose."""
        return LinearFrame(self.weight.T, self.weight.T)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "rank": self.rank}
