"""Householder: a learned rotation that every row reflects with a vector of its own (HyperDAS, arXiv 2503.10894).

Equation   R_c = (I - 2 u u^T) R,  u = "householder" (B, width) of the context at unit length;  R_c^T R_c = I
           coordinates(h) = R_c^T h,  lift(dz) = R_c dz
Shapes     h (B, P, width) -> z (B, P, rank); R (width, rank) as `das.featurizers.rotation`
Raises     InputError unless 1 <= rank <= width; CapabilityError where no conditioner made a vector
Two reflections of R share all but two of its directions, so few concepts can be told apart if the rank is large.
"""

from __future__ import annotations

from typing import Any, final

from torch.nn import functional as F

from das.context import Context
from das.featurizers.base import Featurizer, LinearFrame
from das.featurizers.rotation import Parametrization, Rotation


@final
class Householder(Featurizer):
    """A reflected rotation per row.

    Args:
        width: activation size.
        rank: dimension of the subspaces.
        parametrization: how R is kept orthonormal.
    """

    wants = ("householder",)

    def __init__(self, width: int, rank: int, parametrization: Parametrization = "retract") -> None:
        super().__init__()
        self.width, self.rank = width, rank
        self.rotation = Rotation(width, rank, parametrization)

    def frame(self, ctx: Context) -> LinearFrame:
        """R_c both ways, (B, width, rank); no width x width matrix is formed."""
        u, basis = F.normalize(ctx.row("householder"), dim=-1), self.rotation.basis
        reflected = basis - 2 * u[:, :, None] * (u @ basis)[:, None]
        return LinearFrame(reflected, reflected)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "rank": self.rank, "parametrization": self.rotation.parametrization}
