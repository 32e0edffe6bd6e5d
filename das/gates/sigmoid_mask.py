"""Sigmoid mask: every coordinate has its own learned gate (desiderata-based and differential binary masking).

Equation   m = sigmoid(mu / T), T annealed while training;  m = 1[mu > 0] after it
Penalty    weight * sum_k m_k; "mask_size" reports the sum
Source     arXiv 2311.16164 (DBM), RAVEL arXiv 2402.17700; pyvene's rotated variant starts at mu = 100, T = 50
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Bool
from torch import nn

from das.context import Context
from das.gates.base import Gate, GateResult, Selective
from das.gates.schedule import Curve, Temperature
from das.shapes import Activation, Coordinates


@final
class SigmoidMask(Gate, Selective):
    """One learned gate per coordinate.

    Args:
        rank: number of coordinates.
        start, end, curve: temperature.
        init: mu before training.
        weight: of the penalty.
        hard: whether the mask is 0 or 1 after training; pyvene keeps it soft.
    """

    constant = True

    def __init__(
        self,
        rank: int,
        start: float = 1.0,
        end: float = 0.01,
        curve: Curve = "linear",
        init: float = 0.0,
        weight: float = 0.0,
        hard: bool = True,
    ) -> None:
        super().__init__()
        self.rank, self.init, self.weight, self.hard = rank, init, weight, hard
        self.temperature = Temperature(start, end, curve)
        self.logits = nn.Parameter(torch.full((rank,), float(init)))

    def forward(self, z: Coordinates, h: Activation, ctx: Context) -> GateResult:
        """The mask, (1, 1, rank)."""
        mask = self.mask(ctx.trained(self))
        size = mask.sum()
        return mask.to(z)[None, None], {"mask_size": size, "penalty/mask_size": self.weight * size}

    def mask(self, progress: float = 1.0) -> torch.Tensor:
        """m, (rank,), at a share of training."""
        if self.hard and progress >= 1.0:
            return (self.logits > 0).float()
        return (self.logits / self.temperature.at(progress)).sigmoid()

    def support(self) -> Bool[torch.Tensor, " rank"]:
        """Coordinates with at least half of their change let through after training."""
        return self.mask() >= 0.5

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "rank": self.rank, "start": self.temperature.start, "end": self.temperature.end,
            "curve": self.temperature.curve, "init": self.init, "weight": self.weight, "hard": self.hard,
        }  # fmt: skip
