"""Rows of padded tensors kept for a whole run: filled chunk by chunk, read back by row number.

Token axes differ in length between chunks; each stored tensor has room for the longest row, padded left or right, and a
read returns just the length its batch needs.
"""

from __future__ import annotations

from typing import Literal, final

from torch import Tensor

Pad = Literal["left", "right"]


@final
class RowStore:
    """One tensor per dataset row.

    Args:
        rows: number of dataset rows.
        length: longest token axis of any row.
        axis: which axis of a batch is the token axis (0 is the row).
        pad: side of the padding along that axis.
    """

    def __init__(self, rows: int, length: int, axis: int, pad: Pad) -> None:
        self.rows, self.length, self.axis, self.pad = rows, length, axis, pad
        self.data: Tensor | None = None

    def put(self, rows: Tensor, value: Tensor) -> None:
        """Store a batch (b, ..., t, ...) with t <= length."""
        if self.data is None:
            shape = list(value.shape)
            shape[0], shape[self.axis] = self.rows, self.length
            self.data = value.new_zeros(shape)
        room = self.length - value.shape[self.axis]
        start = room if self.pad == "left" else 0
        window = self.data.narrow(self.axis, start, value.shape[self.axis])
        window[rows.to(self.data.device)] = value

    def get(self, rows: Tensor, length: int) -> Tensor:
        """The batch's rows with a token axis of `length`."""
        assert self.data is not None
        start = self.length - length if self.pad == "left" else 0
        return self.data.narrow(self.axis, start, length).index_select(0, rows.to(self.data.device))

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return 0 if self.data is None else self.data.numel() * self.data.element_size()


def row_bytes(value: Tensor, axis: int, length: int) -> int:
    """Bytes one dataset row of such a batch takes when its token axis is padded to `length`."""
    per_token = value[0].numel() // max(value.shape[axis], 1)
    return per_token * length * value.element_size()
