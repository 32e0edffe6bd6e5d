"""What one engine needs of a recording of all tokens: its own positions, sources and blocks."""

from __future__ import annotations

from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from das.batch import PairBatch, Positions
from das.engine.engine import Engine
from das.engine.layout import layout
from das.engine.read import SourceState
from das.engine.resume import BaseState
from das.models.families import BoundSite
from das.outputs import FrozenRun


@runtime_checkable
class Recorded(Protocol):
    """All tokens of a dataset, by row."""

    rounded: bool

    @property
    def nbytes(self) -> int: ...  # noqa: D102

    def at(self, key: tuple[object, ...], rows: Tensor, index: Int[Tensor, "batch position"]) -> Tensor:
        """Values (B, P, ...) of what `key` names at tokens of rows, counted from each row's first."""
        ...

    def hidden(self, batch: PairBatch) -> dict[FrozenRun, Tensor]:
        """Head inputs of the frozen runs at the label positions, (B, K, width)."""
        ...


@final
class Replay:
    """What one engine needs of a recording; see `das.engine.kept.Kept`, which it stands in for."""

    def __init__(self, recording: Recorded, engine: Engine) -> None:
        self.recording, self.engine = recording, engine

    @property
    def nbytes(self) -> int:
        """Memory held, shared by all replays."""
        return self.recording.nbytes

    @property
    def rounded(self) -> bool:
        """Whether the recording is."""
        return self.recording.rounded

    def sources(self, batch: PairBatch) -> SourceState:
        """What `Engine.sources` would compute for this batch."""
        reads = tuple(
            {name: self._read(name, bound, batch, batch.reads[i][name]) for name, bound in read.items()}
            for i, read in enumerate(self.engine.reads)
        )
        return SourceState(reads, self.recording.hidden(batch))

    def state(self, batch: PairBatch) -> BaseState:
        """What `base_state` would compute for this batch."""
        split, begin = layout(batch), batch.base.mask.long().argmax(1)[:, None]
        block, any_before = self.engine.block, split.prefix.shape[1] > 0
        residual = self.recording.at(("residual", block), batch.rows, split.suffix - begin)
        keys, values = (
            tuple(
                self._before(what, b, batch, split.prefix - begin, split.prefix_mask) for b in self._above(any_before)
            )
            for what in ("keys", "values")
        )
        ids, positions = (x.gather(1, split.suffix) for x in (batch.base.ids, batch.base.position_ids))
        return BaseState(ids, positions, split.suffix_mask, residual, split.prefix_mask, keys, values)

    def _above(self, any_before: bool) -> range:
        depth = self.engine.view.n_layers
        return range(self.engine.block, depth) if any_before else range(0)

    def _before(self, what: str, block: int, batch: PairBatch, index: Tensor, mask: Tensor) -> Tensor:
        found = self.recording.at((what, block), batch.rows, index)
        return torch.where(mask.to(found.device)[:, :, None, None], found, 0).transpose(1, 2)

    def _read(self, name: str, bound: BoundSite, batch: PairBatch, where: Positions) -> Tensor:
        begin = batch.sources[name].mask.long().argmax(1)[:, None]
        return self.recording.at(read_key(name, bound), batch.rows, where.index - begin)


def read_key(name: str, bound: BoundSite) -> tuple[str, str, str, str]:
    """Name of a source and what identifies a site, wherever in the text it is read."""
    return name, bound.path, bound.side, str(bound.columns)
