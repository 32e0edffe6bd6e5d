"""Several interventions in one pass: the rows of all batches side by side, each edited by its own interventions.

Exact to separate passes, and faster where these are too small to use the machine: sites of one layer, seeds, ranks,
concepts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from das.batch import PairBatch
from das.engine.hooks import Visitor
from das.engine.resume import BaseState, Resumption, Visits, head_logits, resumed
from das.engine.tiers import Prepared
from das.engine.visitors import Seen
from das.errors import EngineError
from das.interventions.sets import InterventionSet
from das.outputs import FrozenRun, Headless, Outputs

#: Entered whenever parts of one member run, so that its random numbers do not depend on the others.
Inside = Callable[[], AbstractContextManager[None]]


@final
class Together:
    """Prepared engines of one model that resume at the same block and keep all of their data.

    Args:
        members: what would otherwise run one by one.

    Raises:
        EngineError: they cannot run in one pass.
    """

    def __init__(self, members: Sequence[Prepared]) -> None:
        self.members = tuple(members)
        if obstacle := why_not_together(members):
            raise EngineError("these engines cannot run together", got=obstacle, remedy="run them one by one")
        self.view, self.block = members[0].engine.view, members[0].engine.block

    def outputs(
        self,
        batches: Sequence[PairBatch],
        interventions: Sequence[InterventionSet],
        progress: float | None = None,
        inside: Sequence[Inside] | None = None,
    ) -> list[Outputs]:
        """What each member's `Prepared.outputs` would give for its batch.

        Args:
            batches: one per member.
            interventions: one set per member.
            progress: share of training done.
            inside: one per member.
        """
        logits, seen, runs = self._run(batches, interventions, progress, inside, head=True)
        with torch.no_grad():
            frozen = self._of_runs(runs)
        return [Outputs(x, r, *s.reported()) for x, r, s in zip(logits, frozen, seen, strict=True)]

    def headless(
        self,
        batches: Sequence[PairBatch],
        interventions: Sequence[InterventionSet],
        progress: float | None = None,
        inside: Sequence[Inside] | None = None,
    ) -> list[Headless]:
        """What each member's `Prepared.headless` would give for its batch."""
        hidden, seen, runs = self._run(batches, interventions, progress, inside, head=False)
        head = lambda h: head_logits(self.view, h)  # noqa: E731
        return [Headless(x, r, head, *s.reported()) for x, r, s in zip(hidden, runs, seen, strict=True)]

    def _run(
        self,
        batches: Sequence[PairBatch],
        interventions: Sequence[InterventionSet],
        progress: float | None,
        inside: Sequence[Inside] | None,
        head: bool,
    ) -> tuple[list[Tensor], list[Seen], list[dict[FrozenRun, Tensor]]]:
        """Logits or head inputs, what was seen, and head inputs of frozen runs, per member."""
        inside = inside or [nullcontext] * len(self.members)
        parts, seen, runs = [], [], []
        for member, batch, placed, own in zip(self.members, batches, interventions, inside, strict=True):
            sources, state = member.constant(batch)
            assert state is not None, "all tiers that keep their data have one"
            with own():
                part, reports = member.engine.begin(batch, placed, sources, state, progress)
            parts.append(part)
            seen.append(reports)
            runs.append(dict(sources.hidden))
        found = resumed(self.view, self.block, side_by_side(parts, inside), head)
        rows = found.split([len(p.state.ids) for p in parts])
        return [x[:, : p.columns.shape[1]] for x, p in zip(rows, parts, strict=True)], seen, runs

    def _of_runs(self, runs: Sequence[dict[FrozenRun, Tensor]]) -> list[dict[FrozenRun, Tensor]]:
        """Logits of all members' frozen runs, through the head in one go."""
        stored = [(i, name, hidden) for i, run in enumerate(runs) for name, hidden in run.items()]
        made: list[dict[FrozenRun, Tensor]] = [{} for _ in runs]
        if stored:
            labels = max(hidden.shape[1] for _, _, hidden in stored)
            logits = head_logits(self.view, torch.cat([_longer(h, labels) for _, _, h in stored]))
            for (i, name, hidden), x in zip(stored, logits.split([len(h) for _, _, h in stored]), strict=True):
                made[i][name] = x[:, : hidden.shape[1]]
        return made


def why_not_together(members: Sequence[Prepared]) -> str | None:
    """Why these engines cannot run in one pass; None if they can."""
    if not members:
        return "none"
    if tiers := {m.tier for m in members} - {"all"}:
        return f"tier {tiers.pop()!r} repeats frozen work in every step"
    if len({id(m.engine.view.model) for m in members}) > 1:
        return "several models"
    if len(blocks := {m.engine.block for m in members}) > 1:
        return f"they resume at blocks {sorted(blocks)}"
    return None


def side_by_side(parts: Sequence[Resumption], inside: Sequence[Inside]) -> Resumption:
    """One forward of all rows: prefixes padded on the left, suffixes and label columns on the right."""
    before = max(p.state.prefix_mask.shape[1] for p in parts)
    after = max(p.state.ids.shape[1] for p in parts)
    labels = max(p.columns.shape[1] for p in parts)
    filled = [k for p in parts for k in (p.state.keys, p.state.values) if k]
    states = [p.state for p in parts]

    def prefixes(of: Callable[[BaseState], Sequence[Tensor]]) -> tuple[Tensor, ...]:
        if not filled:
            return ()
        like = filled[0]
        blocks = range(len(like))
        return tuple(torch.cat([_earlier(of(s), b, like[b], s, before) for s in states]) for b in blocks)

    state = BaseState(
        torch.cat([_longer(s.ids, after) for s in states]),
        torch.cat([_longer(s.positions, after) for s in states]),
        torch.cat([_longer(s.suffix_mask, after) for s in states]),
        torch.cat([_longer(s.residual, after) for s in states]),
        torch.cat([pad(s.prefix_mask, (before - s.prefix_mask.shape[1], 0)) for s in states]),
        prefixes(lambda s: s.keys), prefixes(lambda s: s.values),
    )  # fmt: skip
    columns = torch.cat([_longer(p.columns, labels) for p in parts])
    return Resumption(state, columns, _visits(parts, inside))


def _visits(parts: Sequence[Resumption], inside: Sequence[Inside]) -> Visits:
    """Every part's visitors, each on its own rows."""
    found, start = [], 0
    for part, own in zip(parts, inside, strict=True):
        rows = slice(start, start := start + len(part.state.ids))
        found += [(bound, _on_rows(visitor, rows, own)) for bound, visitor in part.visits]
    return found


def _on_rows(visitor: Visitor, rows: slice, inside: Inside) -> Visitor:
    def visit(hidden: Tensor) -> Tensor | None:
        with inside():
            new = visitor(hidden[rows])
        return None if new is None else torch.cat([hidden[: rows.start], new, hidden[rows.stop :]])

    return visit


def _longer(x: Tensor, length: int) -> Tensor:
    """Zeros appended along axis 1."""
    return pad(x, (0, 0) * (x.ndim - 2) + (0, length - x.shape[1]))


def _earlier(kept: Sequence[Tensor], block: int, like: Tensor, state: BaseState, length: int) -> Tensor:
    """Keys or values of one block (B, heads, length, head_dim); zeros where a row has no prefix."""
    if not kept:
        return like.new_zeros(len(state.ids), like.shape[1], length, like.shape[3])
    return pad(kept[block], (0, 0, length - kept[block].shape[2], 0))
