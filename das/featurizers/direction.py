"""Direction: z = v.h along one unit vector, the featurizer of steering vectors and directional ablation.

Equation   coordinates(h) = v^T h,  lift(dz) = v dz,  ||v|| = 1
Shapes     h (B, P, width) -> z (B, P, 1); v (width,) in fp32, renormalised after every optimiser step
Raises     InputError for a zero or non-finite vector, or one of another width
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from das.context import Context
from das.errors import InputError
from das.featurizers.base import Featurizer, LinearFrame, Spanning
from das.part import Constrained
from das.shapes import Basis


@final
class Direction(Featurizer, Spanning, Constrained):
    """One unit direction.

    Args:
        width: activation size.
        vector: the direction, any non-zero length; random if None.
        learned: False freezes it.
    """

    rank = 1

    def __init__(self, width: int, vector: Float[Tensor, " width"] | None = None, learned: bool = True) -> None:
        super().__init__()
        self.width, self.learned = width, learned
        start = torch.randn(width) if vector is None else vector.detach()
        if start.shape != (width,):
            raise InputError("a direction has the wrong shape", got=f"{tuple(start.shape)} for ({width},)")
        norm = start.double().norm()
        if not (torch.isfinite(norm) and norm > 0):
            raise InputError("a direction needs a finite, non-zero vector", got=f"norm {float(norm)}")
        self.vector = nn.Parameter((start.double() / norm).float(), requires_grad=learned)

    @property
    def basis(self) -> Basis:
        """v as a (width, 1) basis."""
        return self.vector[:, None]

    def frame(self, ctx: Context) -> LinearFrame:
        """v both ways."""
        basis = self.basis
        return LinearFrame(basis, basis)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "learned": self.learned}

    def invariants(self) -> dict[str, float]:
        """How far ||v|| is from one."""
        return {"unit_norm": abs(float(self.vector.detach().double().norm()) - 1.0)}

    @torch.no_grad()
    def project_gradient(self) -> None:
        """The part of the gradient across v; the part along v only changes its length."""
        if self.vector.grad is not None:
            self.vector.grad -= self.vector * (self.vector @ self.vector.grad)

    @torch.no_grad()
    def retract(self) -> None:
        """Back to unit length after an optimiser step."""
        if self.learned:
            self.vector.div_(self.vector.norm())
