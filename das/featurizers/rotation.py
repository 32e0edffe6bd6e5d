"""Rotation: z = R^T h with R (width x rank) of orthonormal columns, the subspace of DAS (arXiv 2303.02536).

Equation   coordinates(h) = R^T h,  lift(dz) = R dz
Shapes     h (B, P, width) -> z (B, P, rank); R is fp32 whatever the model's dtype
Keeping R orthonormal
    "retract"  (default) R is a parameter whose gradient is projected on the tangent space before every optimiser step,
               and which a sign-fixed thin QR returns to the manifold after it: R^T R = I holds whenever a forward runs
    "qr"       R is the Q of a thin QR of the parameter, inside the graph
Both cost O(width rank^2). torch's own orthogonal parametrisation costs O(width^2), has no bf16, and AdamW's weight
decay turns its basis to zero.
Raises     InputError if not 1 <= rank <= width
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from torch import nn

from das.batch import Context
from das.errors import UnknownChoiceError
from das.featurizers.base import Featurizer
from das.geometry import orthonormality_residual, orthonormalize, random_orthonormal
from das.shapes import Basis, Coordinates, SourceActivation

Parametrization = Literal["retract", "qr"]


@final
class Rotation(Featurizer):
    """Orthonormal coordinates of a learned subspace.

    Args:
        width: activation size.
        rank: dimension of the subspace.
        parametrization: how orthonormality is kept, "retract" or "qr".
        basis: start from this basis instead of a random one (must be orthonormal to 1e-5 under "retract").
        learned: False freezes the basis (controls, closed-form estimates).
    """

    def __init__(
        self,
        width: int,
        rank: int,
        parametrization: Parametrization = "retract",
        basis: Basis | None = None,
        learned: bool = True,
    ) -> None:
        super().__init__()
        if parametrization not in ("retract", "qr"):
            raise UnknownChoiceError("parametrization", parametrization, ("retract", "qr"))
        self.width, self.rank, self.parametrization, self.learned = width, rank, parametrization, learned
        start = random_orthonormal(width, rank) if basis is None else basis.detach().float().clone()
        self.weight = nn.Parameter(start, requires_grad=learned)

    @property
    def basis(self) -> Basis:
        """R, (width, rank)."""
        return self.weight if self.parametrization == "retract" else orthonormalize(self.weight)

    def coordinates(self, h: SourceActivation, ctx: Context) -> Coordinates:
        """R^T h."""
        return h @ self.basis.to(h.dtype)

    def lift(self, dz: Coordinates, ctx: Context) -> SourceActivation:
        """R dz."""
        return dz @ self.basis.to(dz.dtype).T

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "width": self.width,
            "rank": self.rank,
            "parametrization": self.parametrization,
            "learned": self.learned,
        }

    def invariants(self) -> dict[str, float]:
        """How far R^T R is from the identity."""
        return {"orthonormal": orthonormality_residual(self.basis)}

    @torch.no_grad()
    def project_gradient(self) -> None:
        """G - R sym(R^T G): the part of the gradient along the manifold. Adam would rescale the rest into noise."""
        if self.weight.grad is not None and self.parametrization == "retract":
            inner = self.weight.T @ self.weight.grad
            self.weight.grad -= self.weight @ (inner + inner.T) / 2

    @torch.no_grad()
    def retract(self) -> None:
        """Back to orthonormal columns after an optimiser step."""
        if self.learned and self.parametrization == "retract":
            self.weight.copy_(orthonormalize(self.weight))
