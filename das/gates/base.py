"""The interface of a gate: `gate(z, h, ctx) -> (B, P, rank)` in [0, 1], broadcastable, plus aux penalties."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from das.batch import Context
from das.shapes import Coordinates, SourceActivation

GateResult = tuple[Float[Tensor, "#batch #position #rank"] | None, dict[str, Tensor]]


class Gate(nn.Module, ABC):
    """Abstract."""

    @abstractmethod
    def forward(self, z: Coordinates, h: SourceActivation, ctx: Context) -> GateResult:
        """The share of each coordinate's change that is applied (None means all of it) and aux values."""

    def params(self) -> dict[str, Any]:
        """Constructor arguments as plain data (tensors live in the state dict)."""
        return {}
