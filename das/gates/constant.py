"""Constant: the same share of every coordinate's change is applied, the strength of a partial erasure.

Equation   gate = share
"""

from __future__ import annotations

from typing import Any, final

from das.context import Context
from das.gates.base import Gate, GateResult
from das.shapes import Activation, Coordinates


@final
class Constant(Gate):
    """A fixed share."""

    constant = True

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = float(share)

    def forward(self, z: Coordinates, h: Activation, ctx: Context) -> GateResult:
        """(1, 1, 1)."""
        return z.new_full((1, 1, 1), self.share), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"share": self.share}
