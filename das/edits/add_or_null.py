"""Add or null: a factor times the unit is added; factor 0 removes what is there (RePS, arXiv 2505.20809).

Equation   z' = z + f                    f != 0
           z' = z - relu(z)              f = 0: negative coordinates stay and positive ones become zero
Units      coordinates of `das.featurizers.vector`: z = (v.h + beta) / |v|^2, so z + f is h + f v, and suppression is
           h - relu(v.h + beta) / |v|^2 v
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch

from das.context import Context
from das.edits.base import Edit, EditResult
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class AddOrNull(Edit):
    """Shift by the factor, or suppress."""

    factor = "any"

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The shifted or suppressed coordinates."""
        factor = ctx.strength(z)
        return torch.where(factor != 0, z + factor, z - z.relu()), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments: none."""
        return {}
