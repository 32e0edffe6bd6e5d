"""Oblique: coordinates are read along one set of directions and written along another (LEACE).

Equation   coordinates(h) = right^T h,  lift(dz) = left dz,  right^T left = I          (a projection left right^T)
Shapes     left, right (width, rank), fixed
Raises     InputError for shapes that differ
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from das.context import Context
from das.errors import InputError
from das.featurizers.base import Featurizer, LinearFrame, Spanning
from das.part import Constrained
from das.shapes import Basis


@final
class Oblique(Featurizer, Spanning, Constrained):
    """An oblique pair.

    Args:
        width, rank: size.
        right: what coordinates are read along.
        left: what changes are written along.
    """

    left: Tensor
    right: Tensor

    def __init__(
        self,
        width: int,
        rank: int,
        right: Float[Tensor, "width rank"] | None = None,
        left: Float[Tensor, "width rank"] | None = None,
    ) -> None:
        super().__init__()
        self.width, self.rank = width, rank
        for name, given in (("right", right), ("left", left)):
            value = torch.eye(width, rank) if given is None else given.detach().float().clone()
            if value.shape != (width, rank):
                raise InputError(f"{name} has the wrong shape", got=f"{tuple(value.shape)} for ({width}, {rank})")
            self.register_buffer(name, value)

    @property
    def basis(self) -> Basis:
        """Orthonormal basis of the span that coordinates are read along."""
        return torch.linalg.qr(self.right)[0]

    def frame(self, ctx: Context) -> LinearFrame:
        """Read along the one, written along the other."""
        return LinearFrame(self.right, self.left)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "rank": self.rank}

    def invariants(self) -> dict[str, float]:
        """How far right^T left is from the identity."""
        product = self.right.double().T @ self.left.double()
        return {"dual": float((product - torch.eye(self.rank).to(product)).abs().max())}
