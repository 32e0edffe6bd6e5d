"""What is computed once for a whole dataset, and what in every step.

    all      sources, targets, base residual and prefix keys/values are kept: a step resumes at the site
    prefix   sources and targets are kept; the base prefix is recomputed per step without gradient, then resumed
    hooks    nothing is kept: every step runs sources and base in full; the reference the others are tested against

`prepare` picks the highest tier that the model allows and the memory budget holds, and says why.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final, runtime_checkable

from rich.progress import track
from torch import nn

from das.batch import Outputs, PairBatch
from das.engine.engine import Engine, SourceState
from das.engine.resume import BaseState, base_state, layout
from das.engine.store import RowStore, row_bytes
from das.errors import UnknownChoiceError
from das.interventions.sets import InterventionSet
from das.models.layouts import LAYOUTS

logger = logging.getLogger("das.engine")

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


@final
class Prepared:
    """An engine with whatever it keeps of one dataset. Use `prepare` to make one."""

    def __init__(self, engine: Engine, tier: Tier, reason: str, target: bool, kept: _Kept | None) -> None:
        self.engine, self.tier, self.reason, self.target, self._kept = engine, tier, reason, target, kept

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float = 1.0) -> Outputs:
        """Intervened logits (and target logits) of a batch of the prepared dataset, with gradients."""
        if self._kept is None:
            return self.engine.outputs(batch, interventions, self.engine.sources(batch, self.target), None, progress)
        sources = self._kept.sources(batch)
        state = self._kept.state(batch) if self.tier == "all" else base_state(self.engine.view, self.engine.block, batch)
        return self.engine.outputs(batch, interventions, sources, state, progress)

    @property
    def nbytes(self) -> int:
        """Memory held for the dataset."""
        return 0 if self._kept is None else self._kept.nbytes


def prepare(
    engine: Engine,
    data: PairData,
    *,
    target: bool = False,
    tier: Tier | Literal["auto"] = "auto",
    budget_bytes: int = 4 << 30,
    batch_size: int = 64,
    progress: bool = False,
) -> Prepared:
    """Collect what the tier keeps, in one pass over the data without gradients.

    Args:
        engine: model and placements.
        data: the dataset the steps will take their batches from.
        target: whether the counterfactual run's own distribution is needed.
        tier: "auto" picks the highest tier that fits; a tier that the model does not allow falls back to "hooks".
        budget_bytes: most memory the kept tensors may take under "auto".
        batch_size: rows per collecting forward.
        progress: show a progress bar.
    """
    if tier not in (*TIERS, "auto"):
        raise UnknownChoiceError("engine tier", tier, (*TIERS, "auto"))
    obstacle = why_not_resumable(engine)
    if tier == "hooks" or obstacle:
        reason = obstacle or "asked for"
        logger.info("engine tier: hooks (%s)", reason)
        return Prepared(engine, "hooks", reason, target, None)
    chunks = [range(i, min(i + batch_size, len(data))) for i in range(0, len(data), batch_size)]
    kept = _Kept(engine, len(data), target, _Extent.of(data, chunks, engine))
    chosen, reason = (tier, "asked for") if tier != "auto" else kept.choose(data.collate(chunks[0]), budget_bytes)
    logger.info("engine tier: %s (%s)", chosen, reason)
    if chosen == "hooks":
        return Prepared(engine, "hooks", reason, target, None)
    for rows in track(chunks, "reading sources and prefixes", disable=not progress, transient=True):
        kept.add(data.collate(rows), base=chosen == "all")
    return Prepared(engine, chosen, reason, target, kept)


def why_not_resumable(engine: Engine) -> str | None:
    """Why this model or these sites need full forwards; None if they do not."""
    view = engine.view
    config = getattr(view.model, "config", None)
    if any(isinstance(m, nn.Dropout) and m.p > 0 and m.training for m in view.model.modules()):
        return "dropout is active: call model.eval()"
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "use_bidirectional_attention", False):
        return "attention is not causal"
    if view.family not in LAYOUTS:
        return "unknown model family: its state may not be keys and values only"
    if not all(w.resumable for w in engine.writes):
        return "a site lies before the first block"
    if any(b._forward_hooks or b._forward_pre_hooks for b in view.blocks):
        return "somebody else's hooks sit on the blocks"
    return None


@dataclass(frozen=True)
class _Extent:
    """Longest token axes over a dataset."""

    before: int
    after: int
    labels: int
    reads: tuple[dict[str, int], ...]

    @classmethod
    def of(cls, data: PairData, chunks: Sequence[range], engine: Engine) -> _Extent:
        before = after = labels = 0
        reads: list[dict[str, int]] = [{} for _ in engine.placements]
        for rows in chunks:
            batch = data.collate(rows)
            split = layout(batch)
            before, after = max(before, split.prefix.shape[1]), max(after, split.suffix.shape[1])
            labels = max(labels, batch.label_ids.shape[1])
            for known, read in zip(reads, batch.reads, strict=True):
                for name, positions in read.items():
                    known[name] = max(known.get(name, 0), positions.index.shape[1])
        return cls(before, after, labels, tuple(reads))


class _Kept:
    """The kept tensors of one dataset, by row."""

    def __init__(self, engine: Engine, rows: int, target: bool, extent: _Extent) -> None:
        self.engine, self.n, self.target, self.extent = engine, rows, target, extent
        self.read = tuple({k: RowStore(rows, p, 1, "right") for k, p in read.items()} for read in extent.reads)
        self.hidden = RowStore(rows, extent.labels, 1, "right")
        self.residual = RowStore(rows, extent.after, 1, "right")
        depth = engine.view.n_layers - engine.block if extent.before else 0
        self.keys = tuple(RowStore(rows, extent.before, 2, "left") for _ in range(depth))
        self.values = tuple(RowStore(rows, extent.before, 2, "left") for _ in range(depth))

    def add(self, batch: PairBatch, base: bool) -> None:
        """Compute and keep one chunk."""
        sources = self.engine.sources(batch, self.target)
        for stores, read in zip(self.read, sources.reads, strict=True):
            for name, activation in read.items():
                stores[name].put(batch.rows, activation)
        if sources.target_hidden is not None:
            self.hidden.put(batch.rows, sources.target_hidden)
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
        hidden = self.hidden.get(batch.rows, batch.label_ids.shape[1]) if self.target else None
        return SourceState(reads, hidden)

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
        sources = self.engine.sources(batch, self.target)
        light = sum(
            row_bytes(a, 1, self.extent.reads[i][k]) for i, read in enumerate(sources.reads) for k, a in read.items()
        )
        if sources.target_hidden is not None:
            light += row_bytes(sources.target_hidden, 1, self.extent.labels)
        state = base_state(self.engine.view, self.engine.block, batch)
        heavy = row_bytes(state.residual, 1, self.extent.after)
        heavy += sum(row_bytes(t, 2, self.extent.before) for t in (*state.keys, *state.values))
        for chosen, size in (("all", light + heavy), ("prefix", light)):
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
        yield from (self.hidden, self.residual, *self.keys, *self.values)


def _mib(size: int) -> int:
    return -(-size // (1 << 20))
