"""One chunk of pairs: its two runs, and the start run with activations of the goal run.

The start's work is recorded once and resumed at the site (`das.engine.recording`); with noise, or where a forward
cannot be resumed, every patch is a whole forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar, final

import torch

from das.batch import Positions
from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.data.placing import Where
from das.engine.engine import Engine
from das.engine.read import SourceState
from das.engine.recording import Recording, Replay
from das.engine.tiers import why_not_resumable
from das.interventions.sets import InterventionSet, Placement
from das.methods.full_vector import full_vector
from das.models.families import ModelView
from das.patching.corruption import Noise, draw, embedding_site, noised
from das.patching.effects import Ends, Next
from das.patching.prompts import Patchable, dataset
from das.types import SOURCE, Site

T = TypeVar("T")
#: Numbers of the sites that are patched together.
Unit = tuple[int, ...]


@final
class Patcher:
    """Swaps at sites of one model, one engine per unit.

    Args:
        view: the model.
        sites: all of them.
        units: what is patched together.
        denoise: start from the corrupted run.
        noise: and its scale, where noise corrupts.
    """

    def __init__(
        self,
        view: ModelView,
        sites: Sequence[Site],
        units: Sequence[Unit],
        denoise: bool,
        noise: Noise | None,
        nu: float,
    ) -> None:
        swaps = [(site, full_vector(view.bind(site).width)) for site in sites]
        self.view, self.units, self.denoise, self.noise, self.nu = view, units, denoise, noise, nu
        self.whole = InterventionSet(swaps).to(view.device).eval()
        self.sets = [InterventionSet([swaps[i] for i in unit]).eval() for unit in units]
        self.engine = Engine(view.model, self.whole.placements)
        self.engines = [Engine(view.model, [Placement(p.write, {}) for p in one.placements]) for one in self.sets]
        self.where = [Where(s.positions, {SOURCE: s.read().positions}) for s in sites]
        self.where += [Where(noise.positions, {})] if noise is not None else []

    def data(self, items: Sequence[Patchable], encoder: Encoder) -> PairDataset:
        """Rows with the positions of all sites.

        Raises:
            PositionError: a prompt does not have them.
        """
        return dataset(items, encoder, self.where, self.denoise)

    @torch.no_grad()
    def run(self, data: PairDataset, items: Sequence[Patchable], first: int) -> tuple[Ends, Iterator[Next]]:
        """The two runs of a chunk, and its patched logits (B, V) unit by unit.

        Args:
            data: the rows.
            items: their prompts.
            first: number of the first pair, which its noise depends on.
        """
        batch = data.collate(range(len(data))).to(self.view.device)
        with self._noised(batch.writes[-1], first, len(items), on=not self.denoise):
            sources = self.engine.sources(batch, frozenset({"target"}))
        with self._noised(batch.writes[-1], first, len(items), on=self.denoise):
            start = self.engine.clean(batch).logits[:, 0]
        goal = self.engine.head_logits(sources.hidden["target"])[:, 0]
        ids = [
            torch.tensor([getattr(item, name) for item in items], device=start.device) for name in ("answer", "other")
        ]
        return Ends(start, goal, *ids), self._patched(data, sources, first)

    @torch.no_grad()
    def _patched(self, data: PairDataset, sources: SourceState, first: int) -> Iterator[Next]:
        batch = data.collate(range(len(data))).to(self.view.device)
        resumable = self.noise is None and not any(map(why_not_resumable, self.engines))
        recording = Recording(self.engines, data, batch_size=len(data)) if resumable else None
        for unit, engine, swaps in zip(self.units, self.engines, self.sets, strict=True):
            own = replace(batch, writes=_of(batch.writes, unit), reads=_of(batch.reads, unit))
            read = SourceState(_of(sources.reads, unit), {})
            state = None if recording is None else Replay(recording, engine).state(own)
            with self._noised(batch.writes[-1], first, len(data), on=self.denoise):
                logits = engine.outputs(own, swaps, read, state).logits[:, 0]
            yield logits

    @contextmanager
    def _noised(self, where: Positions, first: int, rows: int, on: bool) -> Iterator[None]:
        if self.noise is None or not on:
            yield
            return
        site, tokens = embedding_site(self.view), where.index.shape[1]
        values = draw(self.noise, self.nu, range(first, first + rows), tokens, site.width)
        with noised(site, where, values):
            yield


def _of(values: tuple[T, ...], unit: Unit) -> tuple[T, ...]:
    return tuple(values[i] for i in unit)
