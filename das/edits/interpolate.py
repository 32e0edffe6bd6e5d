"""Interpolate: coordinates are set between two constants, an affine edit of a concept (ACE, arXiv 2411.09003).

Equation   z' = a- + f (a+ - a-)         f (B,) or 1: 0 gives the negative value's coordinates, 1 the positive's
The result does not depend on z: whatever the prompt, the concept ends up at the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from das.context import Context
from das.edits.base import Calibrated, Edit, EditResult
from das.factors import Factors, RankVector
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class Interpolate(Edit, Calibrated):
    """Set coordinates between `negative` and `positive`."""

    factor = "any"
    one_way = True
    affine = True
    negative: Tensor
    positive: Tensor

    def __init__(self, rank: int, negative: RankVector | None = None, positive: RankVector | None = None) -> None:
        super().__init__()
        self.rank = rank
        for name, value in (("negative", negative), ("positive", positive)):
            self.register_buffer(name, torch.zeros(rank) if value is None else value.detach().float().clone())

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """A constant per row."""
        start = self.negative.to(z)
        return (start + ctx.strength(z) * (self.positive.to(z) - start)).expand_as(z), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank}

    def calibrated(self, factors: Factors) -> Interpolate:
        """Between the concept's two means."""
        return Interpolate(self.rank, factors.negative, factors.positive)
