"""Rotation: z = R^T h with R (width x rank) of orthonormal columns, the subspace of DAS (arXiv 2303.02536).

Equation   coordinates(h) = R^T h,  lift(dz) = R dz
Shapes     h (B, P, width) -> z (B, P, rank); R is fp32 whatever the model's dtype
Keeping R orthonormal
    "retract"  (default) R is a parameter whose gradient is projected on the tangent space before every optimiser step,
               and which a sign-fixed thin QR returns to the manifold after it: R^T R = I holds whenever a forward runs
    "qr"       R is the Q of a thin QR of the parameter, inside the graph, once per forward
Both cost O(width rank^2). torch's own orthogonal parametrisation costs O(width^2), has no bf16, and AdamW's weight
decay turns its basis to zero.
Raises     InputError if not 1 <= rank <= width, or for a given basis that is not orthonormal or of another shape
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from torch import nn

from das.context import Context
from das.errors import InputError, UnknownChoiceError
from das.featurizers.base import Featurizer, LinearFrame, Spanning
from das.geometry import orthonormality_residual, orthonormalize, random_orthonormal
from das.part import Constrained
from das.shapes import Basis

Parametrization = Literal["retract", "qr"]

#: Largest max |R^T R - I| of a basis that training may start from.
_ORTHONORMAL = 1e-5


@final
class Rotation(Featurizer, Spanning, Constrained):
    """Orthonormal coordinates of a learned subspace.

    Args:
        width: activation size.
        rank: dimension of the subspace.
        parametrization: how orthonormality is kept, "retract" or "qr".
        basis: start from this orthonormal basis instead of a random one.
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
        start = random_orthonormal(width, rank) if basis is None else _checked(basis, width, rank)
        self.weight = nn.Parameter(start, requires_grad=learned)

    @property
    def basis(self) -> Basis:
        """R, (width, rank)."""
        return self.weight if self.parametrization == "retract" else orthonormalize(self.weight)

    def frame(self, ctx: Context) -> LinearFrame:
        """R both ways."""
        basis = self.basis
        return LinearFrame(basis, basis)

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


def _checked(basis: torch.Tensor, width: int, rank: int) -> torch.Tensor:
    start = basis.detach().float().clone()
    if start.shape != (width, rank):
        raise InputError("a basis has the wrong shape", got=f"{tuple(start.shape)} for ({width}, {rank})")
    residual = orthonormality_residual(start)
    if not residual <= _ORTHONORMAL:
        raise InputError(
            "a basis must have orthonormal columns", got=f"residual {residual:.3g}",
            remedy="orthonormalise it: das.geometry.orthonormalize(basis)",
        )  # fmt: skip
    return start
