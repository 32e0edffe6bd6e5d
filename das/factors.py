"""Where a concept's two values lie in an intervention's coordinates: what steering factors are multiples of."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

Vector = Float[Tensor, " rank"]


@dataclass(frozen=True)
class Factors:
    """Statistics of coordinates over training prompts.

    Attributes:
        positive, negative: mean coordinates (rank,) of the positive and the negative value.
        positive_spread, negative_spread: standard deviations (rank,).
        maximum: largest coordinate (rank,) at any token of a prompt of the positive value.
        labels: what the two values are called, (positive, negative).
        count: prompts per value.
    """

    positive: Vector
    negative: Vector
    positive_spread: Vector
    negative_spread: Vector
    maximum: Vector
    labels: tuple[str, str]
    count: int

    @property
    def gap(self) -> float:
        """Distance between the means in pooled standard deviations along the line through them."""
        line = self.positive - self.negative
        length = line.norm().clamp(min=1e-12)
        pooled = (self.positive_spread**2 + self.negative_spread**2) / 2
        deviation = ((line / length) ** 2 * pooled).sum().sqrt()
        return float(length / deviation.clamp(min=1e-12))
