"""Read the sources, intervene on the base, get logits at the label positions: one batch at a time.

`Engine` knows the model and where interventions are placed; it holds no data. `das.engine.tiers` decides what of its
work is done once for a whole dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn

from das.batch import PairBatch, Positions
from das.engine.bypass import LOCK
from das.engine.hooks import Visitor, spliced
from das.engine.layout import layout
from das.engine.read import SourceState, read
from das.engine.resume import BaseState, Resumption, head_logits, logits_at, resumed
from das.engine.visitors import Seen, editing, label_columns, watching
from das.errors import SiteError
from das.interventions.sets import InterventionSet, Placement
from das.models.families import BoundSite, ModelView
from das.outputs import FrozenRun, Headless, Outputs
from das.types import Site


@final
class Engine:
    """Runs interventions in one frozen model.

    Args:
        model: a frozen causal LM in eval mode.
        placements: where interventions write and read, in declared order.
        watch: sites whose activations after the interventions are handed out, at positions that batches say.

    Raises:
        SiteError, UnknownChoiceError: a placement does not exist in this model.
    """

    def __init__(self, model: nn.Module, placements: Sequence[Placement], watch: Sequence[Site] = ()) -> None:
        self.view = ModelView(model)
        self.placements = tuple(placements)
        self.writes = tuple(self._bind(p.write) for p in placements)
        self.reads = tuple({name: self._bind(site) for name, site in p.reads.items()} for p in placements)
        self.visited = (*self.writes, *(self._bind(site) for site in watch))

    @property
    def block(self) -> int:
        """The lowest block that has to run again after an edit: where forwards resume."""
        return min(site.block for site in self.visited)

    @torch.no_grad()
    def sources(self, batch: PairBatch, runs: frozenset[FrozenRun] = frozenset()) -> SourceState:
        """Read every source once, no further than its last use; the target's run goes on to the head."""
        reads: list[dict[str, Tensor]] = [{} for _ in self.placements]
        hidden: dict[FrozenRun, Tensor] = {}
        for name, tokens in batch.sources.items():
            slots = [i for i, read in enumerate(self.reads) if name in read]
            wanted = [(self.reads[i][name], batch.reads[i][name]) for i in slots]
            if on_target := "target" in runs and name == batch.target:
                assert batch.target_positions is not None
                wanted.append((self._head_input(), Positions(batch.target_positions, batch.label_mask)))
            if not wanted:
                continue
            found = read(self.view, tokens, wanted)
            for i, activation in zip(slots, found, strict=False):
                reads[i][name] = activation
            if on_target:
                hidden["target"] = found[-1]
        if "reference" in runs:
            where = Positions(batch.label_positions, batch.label_mask)
            [hidden["reference"]] = read(self.view, batch.base, [(self._head_input(), where)])
        return SourceState(tuple(reads), hidden)

    def outputs(
        self,
        batch: PairBatch,
        interventions: InterventionSet,
        sources: SourceState,
        state: BaseState | None = None,
        progress: float | None = None,
    ) -> Outputs:
        """Intervene on the base and return logits at the label positions, with gradients to the interventions.

        Args:
            batch: the pairs.
            interventions: placed exactly where this engine is.
            sources: from `sources`.
            state: the base up to the resume block; None runs the whole base through hooks.
            progress: share of training done, as `das.context.Context` has it.
        """
        logits, seen = self._intervened(batch, interventions, sources, state, progress, head=True)
        runs = {name: self.head_logits(hidden) for name, hidden in sources.hidden.items()}
        return Outputs(logits, runs, *seen.reported())

    def headless(
        self,
        batch: PairBatch,
        interventions: InterventionSet,
        sources: SourceState,
        state: BaseState | None = None,
        progress: float | None = None,
    ) -> Headless:
        """Like `outputs`, but before the head: for losses that are computed a few label tokens at a time."""
        hidden, seen = self._intervened(batch, interventions, sources, state, progress, head=False)
        return Headless(hidden, sources.hidden, lambda h: head_logits(self.view, h), *seen.reported())

    def begin(
        self,
        batch: PairBatch,
        interventions: InterventionSet,
        sources: SourceState,
        state: BaseState,
        progress: float | None = None,
    ) -> tuple[Resumption, Seen]:
        """Edit what enters the block where the forward resumes; what later blocks compute is left to visitors."""
        origin = layout(batch).start
        visitors, seen = self._visitors(batch, interventions, sources, origin, progress)
        residual, later = self._edit_entry(state.residual, visitors)
        return Resumption(replace(state, residual=residual), label_columns(batch, origin), later), seen

    def _intervened(
        self,
        batch: PairBatch,
        interventions: InterventionSet,
        sources: SourceState,
        state: BaseState | None,
        progress: float | None,
        head: bool,
    ) -> tuple[Tensor, Seen]:
        """Logits or head inputs at the label positions, and what was seen on the way."""
        if state is not None:
            begun, seen = self.begin(batch, interventions, sources, state, progress)
            return resumed(self.view, self.block, begun, head), seen
        origin, base = torch.zeros_like(batch.rows), batch.base
        visitors, seen = self._visitors(batch, interventions, sources, origin, progress)
        with LOCK, spliced(list(zip(self.visited, visitors, strict=True))):
            columns = label_columns(batch, origin)
            found = logits_at(self.view, columns, base.ids, base.mask, base.position_ids, head=head)
        return found, seen

    def _visitors(
        self,
        batch: PairBatch,
        interventions: InterventionSet,
        sources: SourceState,
        origin: Tensor,
        progress: float | None,
    ) -> tuple[list[Visitor], Seen]:
        """One per visited site."""
        seen = Seen([{} for _ in self.writes], [None] * (len(self.visited) - len(self.writes)))
        visitors = [editing(i, x, batch, origin, sources.reads[i], progress, seen) for i, x in enumerate(interventions)]
        watched = batch.writes[len(self.writes) :]
        return visitors + [watching(i, where, origin, seen) for i, where in enumerate(watched)], seen

    @torch.no_grad()
    def head_logits(self, hidden: Tensor) -> Tensor:
        """Logits of stored head inputs."""
        return head_logits(self.view, hidden)

    @torch.no_grad()
    def clean(self, batch: PairBatch, runs: frozenset[FrozenRun] = frozenset()) -> Outputs:
        """The base run with no intervention, beside the frozen runs asked for."""
        base, hidden = batch.base, self.sources(batch, runs).hidden if runs else {}
        with LOCK:
            logits = logits_at(self.view, batch.label_positions, base.ids, base.mask, base.position_ids)
        return Outputs(logits, {name: self.head_logits(h) for name, h in hidden.items()})

    def _edit_entry(self, residual: Tensor, visitors: list[Visitor]) -> tuple[Tensor, list[tuple[BoundSite, Visitor]]]:
        """Apply the edits that lie exactly where the forward resumes; return the others for hooks."""
        now = [i for i, w in enumerate(self.visited) if w.boundary and w.block == self.block]
        for i in sorted(
            now, key=lambda i: self.visited[i].side == "input"
        ):  # a block's output precedes the next's input
            edited = visitors[i](residual)
            residual = residual if edited is None else edited
        return residual, [(w, visitors[i]) for i, w in enumerate(self.visited) if i not in now]

    def _head_input(self) -> BoundSite:
        width = self.view.width
        return BoundSite(
            self.placements[0].write, self.view.head, "head", "input", None, width, self.view.n_layers, False, True
        )

    def _bind(self, site: Site) -> BoundSite:
        bound = self.view.bind(site)
        if bound.module is self.view.head:
            raise SiteError(
                "the output head cannot be intervened on", got=str(site), remedy="use the last block_output"
            )
        return bound
