"""The tensors an engine keeps of one dataset, and how much of it fits into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final, runtime_checkable

from das.batch import PairBatch
from das.engine.engine import Engine
from das.engine.layout import layout
from das.engine.read import SourceState
from das.engine.resume import BaseState, base_state
from das.engine.store import RowStore, row_bytes
from das.outputs import FrozenRun

Tier = Literal["all", "prefix", "hooks"]
TIERS: tuple[Tier, ...] = ("all", "prefix", "hooks")


@runtime_checkable
class PairData(Protocol):
    """A dataset of pairs that can collate any of its rows."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def collate(self, rows: Sequence[int]) -> PairBatch:
        """The batch of these rows; its `rows` are these numbers."""
        ...


@runtime_checkable
class Stored(Protocol):
    """Kept or recorded tensors of a dataset, as one engine needs them."""

    @property
    def nbytes(self) -> int: ...  # noqa: D102

    def sources(self, batch: PairBatch) -> SourceState:
        """What `Engine.sources` would compute for this batch."""
        ...

    def state(self, batch: PairBatch) -> BaseState:
        """What `base_state` would compute for this batch."""
        ...


@dataclass(frozen=True)
class Extent:
    """Longest token axes over a dataset."""

    before: int
    after: int
    labels: int
    reads: tuple[dict[str, int], ...]

    @classmethod
    def of(cls, data: PairData, chunks: Sequence[range], engine: Engine) -> Extent:
        """Measured by collating every chunk, without running the model."""
        before = after = labels = 0
        reads: list[dict[str, int]] = [{} for _ in engine.placements]
        for rows in chunks:
            batch = data.collate(rows)
            split = layout(batch)
            before, after = max(before, split.prefix.shape[1]), max(after, split.suffix.shape[1])
            labels = max(labels, batch.label_ids.shape[1])
            for known, read in zip(reads, batch.reads, strict=False):  # watched sites read nothing
                for name, positions in read.items():
                    known[name] = max(known.get(name, 0), positions.index.shape[1])
        return cls(before, after, labels, tuple(reads))


@final
class Kept:
    """The kept tensors of one dataset, by row."""

    def __init__(self, engine: Engine, rows: int, runs: frozenset[FrozenRun], extent: Extent) -> None:
        self.engine, self.n, self.runs, self.extent = engine, rows, runs, extent
        self.read = tuple({k: RowStore(rows, p, 1, "right") for k, p in read.items()} for read in extent.reads)
        self.hidden = {name: RowStore(rows, extent.labels, 1, "right") for name in sorted(runs)}
        self.residual = RowStore(rows, extent.after, 1, "right")
        depth = engine.view.n_layers - engine.block if extent.before else 0
        self.keys = tuple(RowStore(rows, extent.before, 2, "left") for _ in range(depth))
        self.values = tuple(RowStore(rows, extent.before, 2, "left") for _ in range(depth))

    def add(self, batch: PairBatch, base: bool) -> None:
        """Compute and keep one chunk."""
        sources = self.engine.sources(batch, self.runs)
        for stores, read in zip(self.read, sources.reads, strict=True):
            for name, activation in read.items():
                stores[name].put(batch.rows, activation)
        for run, hidden in sources.hidden.items():
            self.hidden[run].put(batch.rows, hidden)
        if base:
            state = base_state(self.engine.view, self.engine.block, batch)
            self.residual.put(batch.rows, state.residual)
            for stores_, tensors in ((self.keys, state.keys), (self.values, state.values)):
                for store, tensor in zip(stores_, tensors, strict=bool(tensors)):
                    store.put(batch.rows, tensor)

    def sources(self, batch: PairBatch) -> SourceState:
        """What `Engine.sources` would compute for this batch."""
        reads = tuple(
            {k: s.get(batch.rows, batch.reads[i][k].index.shape[1]) for k, s in stores.items()}
            for i, stores in enumerate(self.read)
        )
        labels = batch.label_ids.shape[1]
        return SourceState(reads, {run: store.get(batch.rows, labels) for run, store in self.hidden.items()})

    def state(self, batch: PairBatch) -> BaseState:
        """What `base_state` would compute for this batch."""
        split, positions = layout(batch), batch.base.position_ids
        before, after = split.prefix.shape[1], split.suffix.shape[1]
        stored = before > 0
        return BaseState(
            batch.base.ids.gather(1, split.suffix), positions.gather(1, split.suffix), split.suffix_mask,
            self.residual.get(batch.rows, after), split.prefix_mask,
            tuple(s.get(batch.rows, before) for s in self.keys) if stored else (),
            tuple(s.get(batch.rows, before) for s in self.values) if stored else (),
        )  # fmt: skip

    def choose(self, batch: PairBatch, budget: int) -> tuple[Tier, str]:
        """The highest tier whose tensors fit the budget, measured on one chunk."""
        sources = self.engine.sources(batch, self.runs)
        light = sum(
            row_bytes(a, 1, self.extent.reads[i][k]) for i, read in enumerate(sources.reads) for k, a in read.items()
        )
        light += sum(row_bytes(hidden, 1, self.extent.labels) for hidden in sources.hidden.values())
        state = base_state(self.engine.view, self.engine.block, batch)
        heavy = row_bytes(state.residual, 1, self.extent.after)
        heavy += sum(row_bytes(t, 2, self.extent.before) for t in (*state.keys, *state.values))
        sizes: tuple[tuple[Tier, int], ...] = (("all", light + heavy), ("prefix", light))
        for chosen, size in sizes:
            if size * self.n <= budget:
                return chosen, f"{_mib(size * self.n)} MiB of a budget of {_mib(budget)} MiB"
        return "hooks", f"sources alone need {_mib(light * self.n)} MiB, over the budget of {_mib(budget)} MiB"

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(s.nbytes for s in self._stores())

    def _stores(self) -> Iterator[RowStore]:
        for read in self.read:
            yield from read.values()
        yield from (*self.hidden.values(), self.residual, *self.keys, *self.values)


def _mib(size: int) -> int:
    return -(-size // (1 << 20))
