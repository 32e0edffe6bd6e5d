"""One pass over a dataset for many sites: all that any of them asks for, at all tokens, replayed per site.

`das.engine.kept` keeps what one set of placements needs. A sweep over layers and positions would collect almost the
same again for every site; a recording holds the residual stream at every resume block, keys and values of all blocks
above the lowest, and the sources at all read sites, and `replay` gives each engine its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Int
from rich.progress import track
from torch import Tensor

from das.batch import PairBatch, Positions, TokenBatch
from das.engine.bypass import LOCK, cache_from
from das.engine.engine import Engine
from das.engine.hooks import captures, spliced
from das.engine.kept import PairData
from das.engine.layout import layout
from das.engine.read import SourceState
from das.engine.resume import BaseState, call, entry_site
from das.engine.tiers import Prepared, why_not_resumable
from das.errors import EngineError
from das.models.families import BoundSite
from das.outputs import FrozenRun

#: Name of a source and what identifies a site, wherever in the text it is read.
_Read = tuple[str, str, str, str]


@final
class Recording:
    """All tokens of one dataset at everything these engines read or resume from.

    Args:
        engines: one per set of placements that will be replayed, all of one model.
        data: any dataset of these rows; positions do not matter.
        runs: frozen runs whose logits are needed beside the intervened run's.
        batch_size: rows per recording forward.
        budget_bytes: most memory it may take, or None for any amount.
        progress: show a progress bar.

    Raises:
        EngineError: a site that forwards cannot be resumed at, or a dataset that takes more memory.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        data: PairData,
        *,
        runs: frozenset[FrozenRun] = frozenset(),
        batch_size: int = 64,
        budget_bytes: int | None = None,
        progress: bool = False,
    ) -> None:
        for engine in engines:
            if obstacle := why_not_resumable(engine):
                raise EngineError("this model or site cannot be recorded", got=obstacle, remedy="train it site by site")
        self._probe, self._runs = engines[0], runs
        self._reads = {_key(name, b): b for e in engines for read in e.reads for name, b in read.items()}
        self._blocks = sorted({engine.block for engine in engines})
        self._tokens: dict[tuple[object, ...], Tensor] = {}
        self._hidden: dict[FrozenRun, Tensor] = {}
        chunks = [range(i, min(i + batch_size, len(data))) for i in range(0, len(data), batch_size)]
        batches = [data.collate(rows) for rows in chunks]
        lengths = [int(t.mask.sum(1).max()) for b in batches for t in (b.base, *b.sources.values())]
        self._rows, self._length = len(data), max(lengths)
        self._labels = max(batch.label_ids.shape[1] for batch in batches)
        self._record(batches[0].to(engines[0].view.device))
        if budget_bytes is not None and self.nbytes > budget_bytes:
            got = f"{self.nbytes >> 20} MiB of a budget of {budget_bytes >> 20} MiB"
            raise EngineError("the recording does not fit into memory", got=got, remedy="raise trainer.budget_gib")
        for batch in track(batches[1:], "reading all tokens once", disable=not progress, transient=True):
            self._record(batch.to(engines[0].view.device))

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(t.numel() * t.element_size() for t in (*self._tokens.values(), *self._hidden.values()))

    def replay(self, engine: Engine) -> Prepared:
        """The engine prepared from this recording.

        Raises:
            EngineError: it reads or resumes where nothing was recorded.
        """
        missing = [k for read in engine.reads for k in (_key(n, b) for n, b in read.items()) if k not in self._reads]
        if engine.block not in self._blocks or missing:
            raise EngineError("nothing was recorded for this engine", got=missing or f"block {engine.block}")
        return Prepared(engine, "all", "replayed from a recording", self._runs, Replay(self, engine))

    @torch.no_grad()
    def _record(self, batch: PairBatch) -> None:
        view, lowest = self._probe.view, self._blocks[0]
        for name, tokens in batch.sources.items():
            wanted = [(bound, None) for key, bound in self._reads.items() if key[0] == name]
            if wanted:
                visits, found = captures(wanted, stop=True)
                with LOCK, spliced(visits):
                    call(view, tokens.ids, tokens.mask, tokens.position_ids)
                keys = [key for key in self._reads if key[0] == name]
                for key, value in zip(keys, found, strict=True):
                    self._keep(key, batch.rows, tokens, value)
        cache = cache_from(0, batch.base.mask, 0)
        visits, found = captures([(entry_site(view, b), None) for b in self._ends()], stop=True)
        with LOCK, spliced(visits):
            call(view, batch.base.ids, batch.base.mask, batch.base.position_ids, cache)
        for block, value in zip(self._ends(), found, strict=True):
            if block in self._blocks:
                self._keep(("residual", block), batch.rows, batch.base, value)
        for block in range(lowest, view.n_layers):
            for what in ("keys", "values"):
                value = getattr(cache.layers[block], what).transpose(1, 2)
                self._keep((what, block), batch.rows, batch.base, value)
        if self._runs:
            hidden = self._probe.sources(batch, self._runs).hidden
            for run, value in hidden.items():
                store = self._hidden.setdefault(run, value.new_zeros(self._rows, self._labels, value.shape[-1]))
                store[batch.rows, : value.shape[1]] = value

    def _ends(self) -> list[int]:
        """Blocks whose input is captured; the final norm's is, so that the head never runs."""
        return sorted({*self._blocks, self._probe.view.n_layers})

    def _keep(self, key: tuple[object, ...], rows: Tensor, tokens: TokenBatch, value: Tensor | None) -> None:
        """Real tokens of a batch (B, T, ...), the first of each row at 0; what pads hold (NaN, sometimes) is zeroed."""
        assert value is not None, "spliced() checks that every hook fired"
        if key not in self._tokens:
            self._tokens[key] = value.new_zeros(self._rows, self._length, *value.shape[2:])
        mask = tokens.mask.to(value.device)
        row, column = mask.nonzero(as_tuple=True)
        first = mask.long().argmax(1)
        self._tokens[key][rows.to(value.device)[row], column - first[row]] = value[row, column]

    def at(self, key: tuple[object, ...], rows: Tensor, index: Int[Tensor, "batch position"]) -> Tensor:
        """Recorded values (B, P, ...) of rows at real tokens, counted from each row's first."""
        store = self._tokens[key]
        rows, index = rows.to(store.device), index.to(store.device).clamp(0, self._length - 1)
        return store[rows[:, None], index]

    def hidden(self, batch: PairBatch) -> dict[FrozenRun, Tensor]:
        """Head inputs of the frozen runs at the label positions, (B, K, width)."""
        return {
            run: store[batch.rows.to(store.device), : batch.label_ids.shape[1]] for run, store in self._hidden.items()
        }


@final
class Replay:
    """What one engine needs of a recording; see `das.engine.kept.Kept`, which it stands in for."""

    def __init__(self, recording: Recording, engine: Engine) -> None:
        self.recording, self.engine = recording, engine

    @property
    def nbytes(self) -> int:
        """Memory held, shared by all replays."""
        return self.recording.nbytes

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
        block, stored = self.engine.block, split.prefix.shape[1] > 0
        residual = self.recording.at(("residual", block), batch.rows, split.suffix - begin)
        keys, values = (
            tuple(self._before(what, b, batch, split.prefix - begin, split.prefix_mask) for b in self._above(stored))
            for what in ("keys", "values")
        )
        ids, positions = (x.gather(1, split.suffix) for x in (batch.base.ids, batch.base.position_ids))
        return BaseState(ids, positions, split.suffix_mask, residual, split.prefix_mask, keys, values)

    def _above(self, stored: bool) -> range:
        depth = self.engine.view.n_layers
        return range(self.engine.block, depth) if stored else range(0)

    def _before(self, what: str, block: int, batch: PairBatch, index: Tensor, mask: Tensor) -> Tensor:
        found = self.recording.at((what, block), batch.rows, index)
        return torch.where(mask.to(found.device)[:, :, None, None], found, 0).transpose(1, 2)

    def _read(self, name: str, bound: BoundSite, batch: PairBatch, where: Positions) -> Tensor:
        begin = batch.sources[name].mask.long().argmax(1)[:, None]
        return self.recording.at(_key(name, bound), batch.rows, where.index - begin)


def _key(name: str, bound: BoundSite) -> _Read:
    return name, bound.path, bound.side, str(bound.columns)
