"""Zero: coordinates are removed (directional ablation, projection erasure).

Equation   z' = 0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch

from das.context import Context
from das.edits.base import Edit, EditResult
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class Zero(Edit):
    """Set coordinates to zero."""

    affine = True

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """Zeros."""
        return torch.zeros_like(z), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments: none."""
        return {}
