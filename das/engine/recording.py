"""One pass over a dataset for many sites: all that any of them asks for, at all tokens, replayed per site.

`das.engine.kept` keeps what one set of placements needs. A sweep over layers and positions would collect almost the
same again for every site; a recording holds the residual stream at every resume block, keys and values of all blocks
above the lowest, and the sources at all read sites, and `replay` gives each engine its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, final

import torch
from jaxtyping import Int
from rich.progress import track
from torch import Tensor

from das.batch import PairBatch, TokenBatch
from das.engine.bypass import LOCK, cache_from
from das.engine.engine import Engine
from das.engine.hooks import captures, spliced
from das.engine.replay import Replay, read_key
from das.engine.resume import call, entry_site
from das.engine.store import Store, stored
from das.engine.survey import PairData
from das.engine.tiers import Prepared, why_not_resumable
from das.errors import EngineError
from das.outputs import FrozenRun

_K = TypeVar("_K")


@final
class Recording:
    """All tokens of one dataset at everything these engines read or resume from.

    Args:
        engines: one per set of placements that will be replayed, all of one model.
        data: any dataset of these rows; positions do not matter.
        runs: frozen runs whose logits are needed beside the intervened run's.
        batch_size: rows per recording forward.
        budget_bytes: most memory it may take, or None for any amount.
        store: "bfloat16" rounds what is recorded.
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
        store: Store = "model",
        progress: bool = False,
    ) -> None:
        for engine in engines:
            if obstacle := why_not_resumable(engine):
                raise EngineError("this model or site cannot be recorded", got=obstacle, remedy="train it site by site")
        self._probe, self._runs, self._store, self.rounded = engines[0], runs, store, False
        self._reads = {read_key(name, b): b for e in engines for read in e.reads for name, b in read.items()}
        self._blocks = sorted({engine.block for engine in engines})
        self._tokens: dict[tuple[object, ...], Tensor] = {}
        self._hidden: dict[FrozenRun, Tensor] = {}
        self._dtypes: dict[object, torch.dtype] = {}
        chunks = [range(i, min(i + batch_size, len(data))) for i in range(0, len(data), batch_size)]
        batches = [data.collate(rows) for rows in chunks]
        lengths = [int(t.mask.sum(1).max()) for b in batches for t in (b.base, *b.sources.values())]
        self._rows, self._length = len(data), max(lengths)
        self._labels = max(batch.label_ids.shape[1] for batch in batches)
        if budget_bytes is not None:
            self._refuse_larger(budget_bytes, data.collate([0]).to(engines[0].view.device))
        for batch in track(batches, "reading all tokens once", disable=not progress, transient=True):
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
        missing = [
            k for read in engine.reads for k in (read_key(n, b) for n, b in read.items()) if k not in self._reads
        ]
        if engine.block not in self._blocks or missing:
            raise EngineError("nothing was recorded for this engine", got=missing or f"block {engine.block}")
        return Prepared(engine, "all", "replayed from a recording", self._runs, Replay(self, engine))

    def _refuse_larger(self, budget: int, first: PairBatch) -> None:
        """Record the first row alone, and let go of it again, before there is room for all."""
        rows, self._rows = self._rows, 1
        self._record(first)
        needed, self._rows = self.nbytes * rows, rows
        self._tokens.clear()
        self._hidden.clear()
        if needed > budget:
            got = f"{needed >> 20} MiB of a budget of {budget >> 20} MiB"
            raise EngineError("the recording does not fit into memory", got=got, remedy="raise trainer.budget_gib")

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
                store = self._room(self._hidden, run, value, self._labels)
                store[batch.rows, : value.shape[1]] = value.to(store)

    def _ends(self) -> list[int]:
        """Blocks whose input is captured; the final norm's is, so that the head never runs."""
        return sorted({*self._blocks, self._probe.view.n_layers})

    def _keep(self, key: tuple[object, ...], rows: Tensor, tokens: TokenBatch, value: Tensor | None) -> None:
        """Real tokens of a batch (B, T, ...), the first of each row at 0; what pads hold (NaN, sometimes) is zeroed."""
        assert value is not None, "spliced() checks that every hook fired"
        mask = tokens.mask.to(value.device)
        row, column = mask.nonzero(as_tuple=True)
        first = mask.long().argmax(1)
        store = self._room(self._tokens, key, value, self._length)
        store[rows.to(value.device)[row], column - first[row]] = value[row, column].to(store)

    def _room(self, stores: dict[_K, Tensor], key: _K, value: Tensor, length: int) -> Tensor:
        """Where values like this (B, T, ...) of all rows go."""
        if key not in stores:
            self._dtypes[key] = value.dtype
            dtype = stored(value.dtype, self._store)
            self.rounded |= dtype != value.dtype
            stores[key] = value.new_zeros(self._rows, length, *value.shape[2:], dtype=dtype)
        return stores[key]

    def at(self, key: tuple[object, ...], rows: Tensor, index: Int[Tensor, "batch position"]) -> Tensor:
        """Recorded values (B, P, ...) of rows at real tokens, counted from each row's first."""
        store = self._tokens[key]
        rows, index = rows.to(store.device), index.to(store.device).clamp(0, self._length - 1)
        return store[rows[:, None], index].to(self._dtypes[key])

    def hidden(self, batch: PairBatch) -> dict[FrozenRun, Tensor]:
        """Head inputs of the frozen runs at the label positions, (B, K, width)."""
        return {
            run: store[batch.rows.to(store.device), : batch.label_ids.shape[1]].to(self._dtypes[run])
            for run, store in self._hidden.items()
        }
