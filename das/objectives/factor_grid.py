"""Steering factors drawn from a grid, one per row, by the batch's own random numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch
from das.errors import CapabilityError


def draw_factors(batch: PairBatch, low: float, high: float, step: float) -> Float[Tensor, " batch"]:
    """Uniform on low, low + step, ..., high."""
    if batch.draw is None:
        raise CapabilityError("factors are drawn from the batch's random numbers", got="a batch without draws")
    count = round((high - low) / step) + 1
    return low + step * torch.floor(batch.draw * count).clamp(max=count - 1)
