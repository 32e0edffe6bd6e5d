"""The body of a hypernetwork: it reads a concept's description and attends to activations of the prompts it is for.

Block      x = x + self(norm x);  x = x + cross(norm x, memory) per memory;  x = x + mlp(norm x)          (pre-norm)
Shapes     description (B, C, width), memories (B, M, width) -> state of the description's last token, (B, hidden)
The papers start from a copy of the language model that reads the description as text. Here the frozen model itself has
read it up to the site, and the blocks start from random weights; nothing of the model's size is learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from das.context import Context
from das.errors import CapabilityError, InputError
from das.shapes import SourceActivation
from das.types import CONCEPT

States = Float[Tensor, "batch _ hidden"]
Real = Bool[Tensor, "batch _"]
#: Activations to attend to, and which of them are real.
Memory = tuple[SourceActivation, Real]


def described(sources: Mapping[str, SourceActivation], ctx: Context, rows: int) -> Memory:
    """Activations of the concept's description and which are real; one description serves all rows.

    Raises:
        CapabilityError: there is none.
    """
    if CONCEPT not in sources:
        raise CapabilityError(
            "a hypernetwork reads what the concept is", got=f"sources {sorted(sources)}",
            remedy=f"use a task whose pairs have a source {CONCEPT!r}, or steer with concept=...",
        )  # fmt: skip
    x = sources[CONCEPT].expand(rows, -1, -1)
    return x, real(x, ctx.source_masks.get(CONCEPT))


def real(x: SourceActivation, mask: Real | None) -> Real:
    """The mask, or all positions where there is none."""
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask.to(x.device)


@final
class Decoder(nn.Module):
    """A small transformer with cross-attention.

    Args:
        width: size of the activations it reads.
        hidden: its own size, a multiple of `heads`.
        layers: number of blocks.
        heads: attention heads.
        memories: how many memories each block attends to.

    Raises:
        InputError: sizes that do not fit.
    """

    def __init__(self, width: int, hidden: int, layers: int, heads: int, memories: int = 1) -> None:
        super().__init__()
        if min(hidden, layers, heads) < 1 or hidden % heads:
            raise InputError("hidden must be a multiple of heads, both positive", got=f"{hidden} and {heads}")
        self.read = nn.Linear(width, hidden)
        self.blocks = nn.ModuleList(_Block(width, hidden, heads, memories) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden)

    def forward(self, description: Memory, memories: Sequence[Memory] = ()) -> Float[Tensor, "batch hidden"]:
        """The last real token's state. A row without a single real entry in a memory attends to nothing there."""
        tokens, known = description
        x = self.read(tokens)
        for block in self.blocks:
            x = block(x, known, memories)
        last = known.long().cumsum(1).argmax(1)
        return self.norm(x[torch.arange(len(x), device=x.device), last])


@final
class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int, memories: int) -> None:
        super().__init__()
        self.self_norm, self.mlp_norm = nn.RMSNorm(hidden), nn.RMSNorm(hidden)
        self.self_attention = _Attention(hidden, hidden, heads)
        self.cross_norms = nn.ModuleList(nn.RMSNorm(hidden) for _ in range(memories))
        self.cross_attentions = nn.ModuleList(_Attention(hidden, width, heads) for _ in range(memories))
        self.mlp = nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.SiLU(), nn.Linear(4 * hidden, hidden))

    def forward(self, x: States, known: Real, memories: Sequence[Memory]) -> States:
        normed = self.self_norm(x)
        x = x + self.self_attention(normed, normed, known)
        for norm, cross, (memory, mask) in zip(self.cross_norms, self.cross_attentions, memories, strict=True):
            x = x + cross(norm(x), memory, mask)
        x = x + self.mlp(self.mlp_norm(x))
        return x


@final
class _Attention(nn.Module):
    def __init__(self, hidden: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key, self.value = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x: States, memory: SourceActivation, mask: Real) -> States:
        q, k, v = (self._split(t) for t in (self.query(x), self.key(memory), self.value(memory)))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=(mask | ~mask.any(1, keepdim=True))[:, None, None])
        joined = self.out(mixed.transpose(1, 2).flatten(2))
        return torch.where(mask.any(1)[:, None, None], joined, 0.0)

    def _split(self, x: States) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
