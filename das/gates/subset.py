"""Subset: only the listed coordinates are edited.

Equation   gate_k = 1[k in chosen]
Raises     InputError for coordinates that do not exist, or none
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Bool
from torch import Tensor

from das.context import Context
from das.errors import InputError
from das.gates.base import Gate, GateResult, Selective
from das.shapes import Activation, Coordinates


@final
class Subset(Gate, Selective):
    """A fixed set of coordinates."""

    constant = True
    mask: Tensor

    def __init__(self, rank: int, chosen: Sequence[int]) -> None:
        super().__init__()
        self.rank, self.chosen = rank, tuple(int(k) for k in chosen)
        if not self.chosen or not all(0 <= k < rank for k in self.chosen):
            raise InputError("no such coordinates", got=str(self.chosen), remedy=f"choose some of 0 to {rank - 1}")
        self.register_buffer("mask", torch.zeros(rank).index_fill(0, torch.tensor(self.chosen), 1.0), persistent=False)

    def forward(self, z: Coordinates, h: Activation, ctx: Context) -> GateResult:
        """The mask, (1, 1, rank)."""
        return self.mask.to(z)[None, None], {}

    def support(self) -> Bool[Tensor, " rank"]:
        """The chosen ones."""
        return self.mask > 0

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank, "chosen": list(self.chosen)}
