"""Zero: coordinates are removed (directional ablation, projection erasure).

Equation   z' = 0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch

from das.batch import Context
from das.edits.base import Edit, EditResult
from das.shapes import Coordinates, SourceActivation, SourceCoordinates


@final
class Zero(Edit):
    """Set coordinates to zero."""

    def forward(
        self, z: Coordinates, h: SourceActivation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """Zeros."""
        return torch.zeros_like(z), {}
