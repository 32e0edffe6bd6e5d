"""Oriented rotation: a learned rotation whose columns point to their anchors, so that coordinates have a sign to read.

Equation   coordinates(h) = D R^T h,  lift(dz) = R D dz,  D = diag(sign(a_i . r_i)),  a_i the anchor of column r_i
An interchange does not depend on D; what is read, clamped and added does.
Shapes     R (width, rank), anchors (rank, width), fp32
Raises     as `das.featurizers.rotation`; InputError for anchors of another shape
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from das.context import Context
from das.errors import InputError
from das.featurizers.base import Featurizer, LinearFrame, Spanning
from das.featurizers.rotation import Parametrization, Rotation
from das.shapes import Basis


@final
class Oriented(Featurizer, Spanning):
    """A rotation with signs.

    Args:
        width, rank: size.
        anchors: where the columns point to; zero (no sign is changed) if None.
        basis: the orthonormal start; random if None.
        parametrization: how R is kept orthonormal.
    """

    anchors: Tensor

    def __init__(
        self,
        width: int,
        rank: int,
        anchors: Float[Tensor, "rank width"] | None = None,
        basis: Basis | None = None,
        parametrization: Parametrization = "retract",
    ) -> None:
        super().__init__()
        self.width, self.rank = width, rank
        self.rotation = Rotation(width, rank, parametrization, basis)
        given = torch.zeros(rank, width) if anchors is None else anchors.detach().float().clone()
        if given.shape != (rank, width):
            raise InputError("every column needs an anchor", got=f"{tuple(given.shape)} for ({rank}, {width})")
        self.register_buffer("anchors", given)

    @property
    def basis(self) -> Basis:
        """R D, (width, rank)."""
        basis = self.rotation.basis
        return basis * torch.where((self.anchors.T * basis).sum(0) < 0, -1.0, 1.0)

    def frame(self, ctx: Context) -> LinearFrame:
        """R D both ways."""
        basis = self.basis
        return LinearFrame(basis, basis)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "rank": self.rank, "parametrization": self.rotation.parametrization}
