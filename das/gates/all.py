"""All: every coordinate is edited in full.

Equation   gate = 1
"""

from __future__ import annotations

from typing import Any, final

from das.context import Context
from das.gates.base import Gate, GateResult
from das.shapes import Activation, Coordinates


@final
class All(Gate):
    """No gating."""

    constant = True

    def forward(self, z: Coordinates, h: Activation, ctx: Context) -> GateResult:
        """One."""
        return z.new_ones(1, 1, 1), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments: none."""
        return {}
