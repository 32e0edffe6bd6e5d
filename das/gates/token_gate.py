"""Token gate: how much of each coordinate changes is learned from the activation, at the one token of the prompt that
matters most to a block of coordinates (MSRS, arXiv 2508.10599).

Equation   m(h_t) = sigmoid(W2 silu(W1 h_t + b1) + b2)                                    (B, P, rank)
           where it chooses  m(h_t) 1[t = argmax over the prompt's tokens of ||z_t,block||]  for each block
Penalty    weight * mean of m over real tokens and coordinates; "open" reports that mean
Sequence   where tokens of a prompt compete, it steers at positions inside the prompt only
Raises     InputError for blocks without a coordinate, UnknownChoiceError
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, final

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from das.context import Context
from das.errors import InputError, UnknownChoiceError
from das.gates.base import Gate, GateResult
from das.shapes import Activation, Coordinates

Choose = Literal["always", "after", "never"]


@final
class TokenGate(Gate):
    """A gate from the activation, and a choice of tokens.

    Args:
        width: activation size.
        sizes: coordinates of each block, in order.
        hidden: size of the network's layer.
        weight: of the penalty.
        choose: "always" one token per block; "after" training only, as in the paper; "never".
    """

    def __init__(
        self, width: int, sizes: Sequence[int], hidden: int = 32, weight: float = 0.0, choose: Choose = "always"
    ) -> None:
        super().__init__()
        if choose not in ("always", "after", "never"):
            raise UnknownChoiceError("time to choose tokens", choose, ("always", "after", "never"))
        if not sizes or min(sizes) < 1:
            raise InputError("every block of coordinates must hold at least one", got=str(tuple(sizes)))
        self.width, self.sizes, self.hidden, self.weight, self.choose = width, tuple(sizes), hidden, weight, choose
        self.scope = "token" if choose == "never" else "sequence"
        self.network = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, sum(sizes)))

    def forward(self, z: Coordinates, h: Activation, ctx: Context) -> GateResult:
        """The gate, (B, P, rank)."""
        share = self.network(h.float()).sigmoid().to(z)
        real = torch.ones_like(share[..., 0], dtype=torch.bool) if ctx.token_mask is None else ctx.token_mask
        opened = torch.where(real[..., None], share, 0.0).sum() / (real.sum() * share.shape[-1]).clamp(min=1)
        if self.choose == "always" or (self.choose == "after" and ctx.trained(self) >= 1.0):
            share = torch.where(self.chosen(z, ctx.visible(h)), share, 0.0)
        return share, {"open": opened, "penalty/open": self.weight * opened}

    def chosen(self, z: Coordinates, visible: Bool[Tensor, "batch position"]) -> Bool[Tensor, "batch position rank"]:
        """For each block the visible token whose coordinates are longest."""
        chosen = []
        for block in z.split(self.sizes, -1):
            energy = torch.where(visible, block.square().sum(-1), -1.0)
            best = torch.arange(z.shape[1], device=z.device) == energy.argmax(1, keepdim=True)
            chosen.append((best & visible)[..., None].expand_as(block))
        return torch.cat(chosen, -1)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "width": self.width, "sizes": list(self.sizes), "hidden": self.hidden, "weight": self.weight,
            "choose": self.choose,
        }  # fmt: skip
