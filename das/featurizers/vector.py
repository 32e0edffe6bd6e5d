"""Vector: one direction whose length is learned too, a steering vector; coordinates count in units of it.

Equation   coordinates(h) = (v^T h + beta) / ||v||^2,  lift(dz) = v dz
Shapes     h (B, P, width) -> z (B, P, 1); v (width,) fp32
At v = 0 coordinates are 0 and the gradient of a change dz is dz g, so training may start there (BiPO does).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from das.context import Context
from das.errors import InputError
from das.featurizers.base import Featurizer, Frame, LinearFrame, Spanning
from das.shapes import Activation, Basis, Coordinates, SourceActivation, SourceCoordinates

_TINY = 1e-30


@dataclass(frozen=True)
class _Shifted:
    """A linear frame whose coordinates are counted from elsewhere."""

    linear: LinearFrame
    offset: Float[Tensor, ""]

    def coordinates(self, h: SourceActivation) -> SourceCoordinates:
        """read^T h + offset."""
        return self.linear.coordinates(h) + self.offset.to(h.dtype)

    def lift(self, dz: Coordinates, z: Coordinates) -> Activation:
        """write dz."""
        return self.linear.lift(dz, z)


@final
class Vector(Featurizer, Spanning):
    """One vector of any length.

    Args:
        width: activation size.
        scale: length of the random start; 0 starts at the origin.
        vector: start from this one.
        learned: False freezes it.
        beta: origin of the coordinate, in units of v^T h.
    """

    rank = 1

    def __init__(
        self, width: int, scale: float = 1.0, vector: Float[Tensor, " width"] | None = None, learned: bool = True,
        beta: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width, self.scale, self.learned, self.beta = width, scale, learned, float(beta)
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

    def frame(self, ctx: Context) -> Frame:
        """Read in units of v, written along v."""
        v = self.vector[:, None]
        size = v.square().sum().clamp(min=_TINY)
        linear = LinearFrame(v / size, v)
        return _Shifted(linear, self.beta / size) if self.beta else linear

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "scale": self.scale, "learned": self.learned, "beta": self.beta}
