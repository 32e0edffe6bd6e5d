"""Where a concept's two values lie in an intervention's coordinates: what steering factors are multiples of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

RankVector = Float[Tensor, " rank"]


@dataclass(frozen=True)
class Factors:
    """Statistics of coordinates over training prompts.

    Attributes:
        positive, negative: mean coordinates (rank,) of the positive and the negative value.
        positive_spread, negative_spread: standard deviations (rank,).
        maximum: largest rectified coordinate (rank,), max relu(z), at any token read, in prompts of the positive value.
        labels: what the two values are called, (positive, negative).
        count: prompts per value.
        deviation: pooled standard deviation along the line through the two means; the same in any basis.
    """

    positive: RankVector
    negative: RankVector
    positive_spread: RankVector
    negative_spread: RankVector
    maximum: RankVector
    labels: tuple[str, str]
    count: int
    deviation: float

    @property
    def gap(self) -> float:
        """Distance between the means in pooled standard deviations along the line through them."""
        return float((self.positive - self.negative).norm()) / max(self.deviation, 1e-12)


def deviation_between(positive: Float[Tensor, "prompt rank"], negative: Float[Tensor, "prompt rank"]) -> float:
    """Pooled standard deviation of two sets of coordinates along the line through their means."""
    line = positive.mean(0) - negative.mean(0)
    line = line / line.norm().clamp(min=1e-12)
    variances = [(side @ line).var(unbiased=False) for side in (positive, negative)]
    return float(torch.stack(variances).mean().sqrt())
