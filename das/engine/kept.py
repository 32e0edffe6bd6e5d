"""The tensors an engine keeps of one dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from das.batch import PairBatch
from das.engine.engine import Engine
from das.engine.layout import layout
from das.engine.read import SourceState
from das.engine.resume import BaseState, base_state
from das.engine.store import Form, TokenStore
from das.engine.survey import Survey
from das.outputs import FrozenRun

Tier = Literal["all", "prefix", "hooks"]
TIERS: tuple[Tier, ...] = ("all", "prefix", "hooks")


@runtime_checkable
class Stored(Protocol):
    """Kept, recorded or computed tensors of a dataset, as one engine needs them."""

    @property
    def nbytes(self) -> int: ...  # noqa: D102

    @property
    def rounded(self) -> bool: ...  # noqa: D102

    def sources(self, batch: PairBatch) -> SourceState:
        """What `Engine.sources` would compute for this batch."""
        ...

    def state(self, batch: PairBatch) -> BaseState:
        """What `base_state` would compute for this batch."""
        ...


@final
class Fresh:
    """Computes everything anew for each batch: what kept tensors are compared with."""

    nbytes, rounded = 0, False

    def __init__(self, engine: Engine, runs: frozenset[FrozenRun]) -> None:
        self.engine, self.runs = engine, runs

    def sources(self, batch: PairBatch) -> SourceState:
        """What kept sources stand for."""
        return self.engine.sources(batch, self.runs)

    def state(self, batch: PairBatch) -> BaseState:
        """What a kept base stands for."""
        return base_state(self.engine.view, self.engine.block, batch)


@final
class Kept:
    """Kept tensors by row.

    Args:
        engine: model and placements.
        survey: of the dataset.
        stores: the tensors, by their names in `computed`; empty ones are filled by `add`.
        in_memory: False where they are mapped from a file.
    """

    def __init__(self, engine: Engine, survey: Survey, stores: Mapping[str, TokenStore], in_memory: bool) -> None:
        self.engine, self.stores, self.in_memory = engine, dict(stores), in_memory
        device = engine.view.device if in_memory else torch.device("cpu")
        self.axes = {name: axis.to(device) for name, axis in survey.axes.items()}
        self.runs: frozenset[FrozenRun] = frozenset(r for r in ("target", "reference") if f"hidden.{r}" in stores)
        self.blocks = [f"{j}" for j in range(engine.view.n_layers) if f"key.{j}" in stores]

    def add(self, batch: PairBatch) -> None:
        """Compute and keep one batch."""
        found = computed(self.engine, batch, self.runs, base="residual" in self.stores)
        for name, value in found.items():
            self.stores[name].put(self.axes[axis_of(name)].index(batch.rows, value.shape[1]), value)

    def sources(self, batch: PairBatch) -> SourceState:
        """What `Engine.sources` would compute for this batch."""
        reads = tuple(
            {k: self._get([f"read.{i}.{k}"], batch, batch.reads[i][k].index.shape[1])[0] for k in read}
            for i, read in enumerate(self.engine.reads)
        )
        runs = sorted(self.runs)
        hidden = self._get([f"hidden.{run}" for run in runs], batch, batch.label_ids.shape[1])
        return SourceState(reads, dict(zip(runs, hidden, strict=True)))

    def state(self, batch: PairBatch) -> BaseState:
        """What `base_state` would compute for this batch."""
        split, positions = layout(batch), batch.base.position_ids
        before, after = split.prefix.shape[1], split.suffix.shape[1]
        blocks = self.blocks if before else []
        keys, values = (self._get([f"{what}.{j}" for j in blocks], batch, before) for what in ("key", "value"))
        return BaseState(
            batch.base.ids.gather(1, split.suffix), positions.gather(1, split.suffix), split.suffix_mask,
            self._get(["residual"], batch, after)[0], split.prefix_mask,
            tuple(k.transpose(1, 2) for k in keys), tuple(v.transpose(1, 2) for v in values),
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Memory held; nothing where a file is mapped."""
        return sum(s.data.numel() * s.data.element_size() for s in self.stores.values()) if self.in_memory else 0

    @property
    def rounded(self) -> bool:
        """Whether tensors are stored in another dtype than they are computed in."""
        return any(s.data.dtype != s.form.dtype for s in self.stores.values())

    def _get(self, names: list[str], batch: PairBatch, length: int) -> list[Tensor]:
        """Stored tensors of one axis, (B, length, ...) each."""
        if not names:
            return []
        index = self.axes[axis_of(names[0])].index(batch.rows, length)
        return [self.stores[name].get(index) for name in names]


def computed(engine: Engine, batch: PairBatch, runs: frozenset[FrozenRun], base: bool) -> dict[str, Tensor]:
    """What is kept of a batch, tokens on axis 1: "read.I.SOURCE", "hidden.RUN"; of the base "residual", "key.BLOCK",
    "value.BLOCK".
    """
    sources = engine.sources(batch, runs)
    found = {f"read.{i}.{name}": h for i, read in enumerate(sources.reads) for name, h in read.items()}
    found |= {f"hidden.{run}": h for run, h in sources.hidden.items()}
    if not base:
        return found
    state = base_state(engine.view, engine.block, batch)
    found["residual"] = state.residual
    for i, (k, v) in enumerate(zip(state.keys, state.values, strict=True), engine.block):
        found |= {f"key.{i}": k.transpose(1, 2), f"value.{i}": v.transpose(1, 2)}
    return found


def axis_of(name: str) -> str:
    """The survey's axis along which a kept tensor lies."""
    kind = name.split(".")[0]
    return {"hidden": "labels", "residual": "after", "key": "before", "value": "before"}.get(kind, name)


def forms(engine: Engine, batch: PairBatch, runs: frozenset[FrozenRun], base: bool) -> dict[str, Form]:
    """What would be kept, measured on one batch."""
    found = computed(engine, batch, runs, base)
    return {name: Form(tuple(h.shape[2:]), h.dtype, h.device) for name, h in found.items()}
