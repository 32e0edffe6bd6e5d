"""What a dataset's batches look like, row by row, found by collating it without running the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from das.batch import PairBatch
from das.engine.engine import Engine
from das.engine.layout import layout
from das.engine.store import Axis, Pad
from das.shapes import PositionMask

#: Most tokens of a batch without gradients, pads and all texts of a row included: keys and values of a whole batch are
#: held until they are stored.
TOKENS = 1 << 15
_ROWS = 256


@runtime_checkable
class PairData(Protocol):
    """A dataset of pairs that can collate any of its rows."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def collate(self, rows: Sequence[int]) -> PairBatch:
        """The batch of these rows; its `rows` are these numbers."""
        ...


@final
class Survey:
    """Lengths of everything that an engine keeps of a dataset.

    Args:
        data: the dataset.
        engine: whose placements its positions are for.

    Attributes:
        axes: "before" and "after" the first intervened token, "labels", and "read.I.SOURCE" per placement and source.
        size: tokens of all texts of a row, (rows,).
        target: the source whose distribution is to be matched, if any.
    """

    def __init__(self, data: PairData, engine: Engine) -> None:
        found: dict[str, list[Tensor]] = {}
        self.target: str | None = None
        for start in range(0, len(data), _ROWS):
            batch = data.collate(range(start, min(start + _ROWS, len(data))))
            self.target = batch.target
            for name, lengths in _lengths(batch, engine).items():
                found.setdefault(name, []).append(lengths)
        joined = {name: torch.cat(parts) for name, parts in found.items()}
        self.size: Int[Tensor, " rows"] = joined.pop("size")
        sides: Mapping[str, Pad] = {"before": "left"}
        self.axes = {name: Axis(lengths, sides.get(name, "right")) for name, lengths in joined.items()}

    @property
    def fullest(self) -> int:
        """The row with the longest prefix: it has everything that any row has."""
        return int(self.axes["before"].lengths.argmax())

    def chunks(self, most: int) -> list[list[int]]:
        """Rows for forwards of up to `most` rows and TOKENS tokens, similar lengths together, the longest first."""
        chunks: list[list[int]] = []
        room = 0
        for row in self.size.argsort(descending=True, stable=True).tolist():
            if not room:
                room = max(1, min(most, TOKENS // int(self.size[row])))
                chunks.append([])
            chunks[-1].append(row)
            room -= 1
        return chunks


def _lengths(batch: PairBatch, engine: Engine) -> dict[str, Tensor]:
    split = layout(batch)
    found = {"before": split.prefix_mask.sum(1), "after": split.suffix_mask.sum(1), "labels": _last(batch.label_mask)}
    for i, read in enumerate(engine.reads):
        found |= {f"read.{i}.{name}": _last(batch.reads[i][name].mask) for name in read}
    return {**found, "size": sum((t.mask.sum(1) for t in batch.sources.values()), start=batch.base.mask.sum(1))}


def _last(mask: PositionMask) -> Int[Tensor, " batch"]:
    """Entries of each row up to the last real one."""
    return (mask * torch.arange(1, mask.shape[1] + 1)).amax(1)
