"""Vector: one direction whose length is learned too, a steering vector; coordinates count in units of it.

Equation   coordinates(h) = v^T h / ||v||^2,  lift(dz) = v dz
Shapes     h (B, P, width) -> z (B, P, 1); v (width,) fp32
At v = 0 coordinates are 0 and the gradient of a change dz is dz g, so training may start there (BiPO does).
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from das.context import Context
from das.errors import InputError
from das.featurizers.base import Featurizer, LinearFrame, Spanning
from das.shapes import Basis

_TINY = 1e-30


@final
class Vector(Featurizer, Spanning):
    """One vector of any length.

    Args:
        width: activation size.
        scale: length of the random start; 0 starts at the origin.
        vector: start from this one.
        learned: False freezes it.
    """

    rank = 1

    def __init__(
        self, width: int, scale: float = 1.0, vector: Float[Tensor, " width"] | None = None, learned: bool = True
    ) -> None:
        super().__init__()
        self.width, self.scale, self.learned = width, scale, learned
        if vector is None:
            start = nn.functional.normalize(torch.randn(width), dim=0) * scale
        else:
            start = vector.detach().float().clone()
        if not bool(torch.isfinite(start).all()):
            raise InputError("a steering vector must be finite", got="NaN or infinity")
        self.vector = nn.Parameter(start, requires_grad=learned)

    @property
    def basis(self) -> Basis:
        """v at unit length, as a (width, 1) basis; zero for the zero vector."""
        return (self.vector / self.vector.norm().clamp(min=_TINY))[:, None]

    def frame(self, ctx: Context) -> LinearFrame:
        """Read in units of v, written along v."""
        v = self.vector[:, None]
        return LinearFrame(v / v.square().sum().clamp(min=_TINY), v)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "scale": self.scale, "learned": self.learned}
