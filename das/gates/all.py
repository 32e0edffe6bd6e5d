"""All: every coordinate is edited in full.

Equation   gate = 1
"""

from __future__ import annotations

from typing import final

from das.batch import Context
from das.gates.base import Gate, GateResult
from das.shapes import Coordinates, SourceActivation


@final
class All(Gate):
    """No gating."""

    def forward(self, z: Coordinates, h: SourceActivation, ctx: Context) -> GateResult:
        """None: the whole change."""
        return None, {}
