"""Anchored rotation: a learned rotation that is pulled back to the basis it started from (MSRS, arXiv 2508.10599).

Equation   as `das.featurizers.rotation`
Penalty    weight * ||R - S||_F^2,  S the basis it started from
Shapes     R, S (width, rank), fp32
Raises     as `das.featurizers.rotation`
"""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from das.context import Context
from das.featurizers.base import Featurizer, LinearFrame, Spanning
from das.featurizers.rotation import Parametrization, Rotation
from das.part import Penalised
from das.shapes import Basis


@final
class AnchoredRotation(Featurizer, Spanning, Penalised):
    """A rotation that remembers where it comes from.

    Args:
        width, rank: size.
        basis: the orthonormal start; random if None.
        weight: of the penalty.
        parametrization: how R is kept orthonormal.
    """

    anchor: Tensor

    def __init__(
        self,
        width: int,
        rank: int,
        basis: Basis | None = None,
        weight: float = 0.0,
        parametrization: Parametrization = "retract",
    ) -> None:
        super().__init__()
        self.width, self.rank, self.weight = width, rank, weight
        self.rotation = Rotation(width, rank, parametrization, basis)
        self.register_buffer("anchor", self.rotation.basis.detach().clone())

    @property
    def basis(self) -> Basis:
        """R, (width, rank)."""
        return self.rotation.basis

    def frame(self, ctx: Context) -> LinearFrame:
        """R both ways."""
        return self.rotation.frame(ctx)

    def penalties(self) -> dict[str, Tensor]:
        """Distance from the start."""
        return {"anchor": self.weight * (self.basis - self.anchor).square().sum()}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "width": self.width, "rank": self.rank, "weight": self.weight,
            "parametrization": self.rotation.parametrization,
        }  # fmt: skip
