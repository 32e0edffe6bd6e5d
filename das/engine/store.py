"""Tokens of a whole dataset's rows, kept one after the other: no padding is stored, whatever the lengths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

import torch
from jaxtyping import Int
from torch import Tensor

Pad = Literal["left", "right"]
#: How kept activations are stored: as the model computes them, or rounded.
Store = Literal["model", "bfloat16"]


@final
class Axis:
    """Where each row's tokens are.

    Args:
        lengths: tokens per row, (rows,).
        pad: side on which batches are padded along this axis.
    """

    def __init__(self, lengths: Int[Tensor, " rows"], pad: Pad) -> None:
        self.lengths, self.pad = lengths, pad
        self.total, self.longest = int(lengths.sum()), int(lengths.max())

    def to(self, device: torch.device) -> Axis:
        """The same on a device."""
        return Axis(self.lengths.to(device), self.pad)

    def index(self, rows: Int[Tensor, " batch"], length: int) -> Int[Tensor, "batch token"]:
        """Numbers of the rows' tokens, padded to `length`; `total` where there is none."""
        start = self.longest - length if self.pad == "left" else 0
        return self._numbers.narrow(1, start, length).index_select(0, rows.to(self._numbers.device))

    @cached_property
    def _numbers(self) -> Int[Tensor, "rows token"]:
        """`index` of all rows."""
        lengths = self.lengths[:, None]
        step = torch.arange(self.longest, device=lengths.device)
        if self.pad == "left":
            step = step - (self.longest - lengths)
        first = lengths.cumsum(0) - lengths
        return torch.where((step >= 0) & (step < lengths), first + step, self.total)


@dataclass(frozen=True)
class Form:
    """What a kept tensor is like: its shape per token, and what the model computes it in and where."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def bytes_per_token(self, store: Store) -> int:
        """Bytes that a token takes."""
        return torch.Size(self.shape).numel() * stored(self.dtype, store).itemsize


@final
class TokenStore:
    """One kept tensor.

    Args:
        data: (tokens + 1, ...), of any dtype, in memory or mapped from a file; its last entry stays zero, for pads.
        form: how it comes back.
    """

    def __init__(self, data: Tensor, form: Form) -> None:
        self.data, self.form = data, form

    def put(self, index: Int[Tensor, "batch token"], value: Tensor) -> None:
        """Store a batch (B, T, ...); pads are left out."""
        index = index.to(value.device)
        real = index < len(self.data) - 1
        self.data[index[real].to(self.data.device)] = value[real].to(self.data)

    def get(self, index: Int[Tensor, "batch token"]) -> Tensor:
        """A batch (B, T, ...), zeros at pads; only what is asked for is read."""
        found = self.data.index_select(0, index.to(self.data.device).view(-1))
        return found.to(self.form.device, self.form.dtype).view(*index.shape, *self.form.shape)


def stored(dtype: torch.dtype, store: Store) -> torch.dtype:
    """What a computed dtype is stored in."""
    return torch.bfloat16 if store == "bfloat16" else dtype
