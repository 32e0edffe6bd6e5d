"""One active steering at work: which columns of the forward in progress it edits, and the edit itself.

Nothing outlives a forward except what was asked for (interventions, factor, positions, bound prompts) and, within one
`generate`, what conditioners made of its prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from das.context import Context
from das.data.positions import PositionSpec
from das.data.tokenize import EncodedPrompt
from das.engine.hooks import Visitor, gather_positions, put_positions
from das.errors import EngineError, InputError, PositionError
from das.interventions.base import Intervention
from das.models.families import BoundSite
from das.steering.calls import Call, Given, expand_rows
from das.steering.fused import fused
from das.steering.prompted import Prompted, Told
from das.steering.prompts import PromptReader
from das.steering.tables import Selection, Table, select, tabulate, without_prompt


@final
class Run:
    """The machinery behind a `Steering`; `das.steering.hub` drives it.

    Args:
        interventions: the inference-time edits, one per site.
        sites: where they go.
        specs: at which positions, one per site.
        factor: one factor or one per row, or None where the edits take none.
        reader: reads prompts.
        prompts: the rows' prompts if the user gave them.
        told: concept descriptions that conditioners read, one entry per site.

    Raises:
        CapabilityError: a gate that weighs the tokens of a prompt against each other, at positions beyond the prompt.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention],
        sites: Sequence[BoundSite],
        specs: Sequence[PositionSpec],
        factor: Tensor | None,
        reader: PromptReader,
        prompts: Sequence[EncodedPrompt] | None = None,
        told: Sequence[Told | None] = (),
    ) -> None:
        self.sites, self.specs, self.reader, self.prompts = tuple(sites), tuple(specs), reader, prompts
        said = told or [None] * len(self.sites)
        self._edits = [Prompted(x, spec, t) for x, spec, t in zip(interventions, specs, said, strict=True)]
        self._fused = [fused(x, factor) for x in interventions]
        self._factor = factor
        self._call: Call | None = None
        self._plan: tuple[Table, ...] | None = None
        self._selections: tuple[Selection | None, ...] = ()
        self._fired = [0] * len(self.sites)

    @property
    def visits(self) -> list[tuple[BoundSite, Visitor]]:
        """What to hook, in declared order."""
        return [(site, self._visitor(i)) for i, site in enumerate(self.sites)]

    def plan(self, given: Given) -> tuple[Table, ...]:
        """Tables for the rows of one `generate`.

        Raises:
            PositionError: a prompt lacks the positions, or the rows are not the prompts that were bound.
            InputError: the rows are no multiple of the bound prompts.
        """
        prompts = self.prompts
        if prompts is not None:
            expand_rows(torch.zeros(len(prompts)), given.mask.shape[0], "prompts")
            _check_bound(prompts, given.ids, given.mask, whole=True)
        return self._tables(self.reader.from_ids(given.ids, given.mask) if prompts is None else prompts, given.mask)

    def begin(self, call: Call, plan: tuple[Table, ...] | None) -> None:
        """Decide what this forward edits; `plan` is the tables of the `generate` in progress."""
        if plan is None or plan is not self._plan:
            for edit in self._edits:
                edit.forget()
        self._plan = plan
        tables = self._bare(call) if plan is None else plan
        chosen: dict[int, Selection | None] = {}
        for table in tables:
            if id(table) not in chosen:
                chosen[id(table)] = select(table, call)
        if self._factor is not None:
            expand_rows(self._factor, call.rows, "factors")
        self._call, self._selections = call, tuple(chosen[id(table)] for table in tables)
        self._fired = [0] * len(self.sites)

    def end(self, completed: bool) -> None:
        """Forget this forward.

        Raises:
            EngineError: it completed without passing every site exactly once.
        """
        self._call, self._selections = None, ()
        wrong = [i for i, n in enumerate(self._fired) if n != 1]
        if completed and wrong:
            raise EngineError(
                "a steered site was not computed exactly once in a forward, so the steering is not what was asked for",
                got=", ".join(f"{self.sites[i].path} ({self.sites[i].side}) {self._fired[i]}x" for i in wrong),
                remedy="steer before torch.compile, not after (or call torch.compiler.reset()); "
                "or the model skips this module: choose another component",
            )

    def _bare(self, call: Call) -> tuple[Table, ...]:
        """Tables for a forward outside `generate`: all of it is prompt if nothing came before."""
        if self.prompts is not None:
            expand_rows(torch.zeros(len(self.prompts)), call.rows, "prompts")
            if call.starts_empty:
                _check_bound(self.prompts, call.ids, _valid(call), whole=False)
            return self._tables(self.prompts, call.positions)
        needing = next((spec.text for spec in self.specs if spec.needs_prompt), None)
        if call.starts_empty and (needing is None or _is_whole(call)):
            return self._tables(self.reader.from_ids(call.ids, _valid(call)), call.positions)
        if needing is None:
            known = {s.text: without_prompt(s, self.reader.prefix, call.device) for s in self.specs}
            return tuple(known[s.text] for s in self.specs)
        raise PositionError(
            f"positions {needing!r} depend on the prompt, which a forward in the middle of a text does not know",
            got="a cache that is not empty" if not call.starts_empty else "packed rows, or positions not from 0 on",
            remedy="use model.generate, bind the rows with steer(..., prompts=[...]), or steer at 'all' or 'from:N'",
        )

    def _tables(self, prompts: Sequence[EncodedPrompt], like: Tensor) -> tuple[Table, ...]:
        finder = self.reader.finder
        known = {s.text: s for s in self.specs}
        tables = {text: tabulate(spec, prompts, like.device, finder) for text, spec in known.items()}
        return tuple(tables[s.text] for s in self.specs)

    def _visitor(self, i: int) -> Visitor:
        def edit(hidden: Tensor) -> Tensor | None:
            self._fired[i] += 1
            if self._call is None:
                raise EngineError(
                    "a steered module ran outside a forward of the steered model, so its positions are unknown",
                    got=self.sites[i].path,
                    remedy="call the model that was given to das.steer (gradient checkpointing cannot be steered)",
                )
            selection = self._selections[i]
            return None if selection is None else self._edited(i, hidden, selection, self._call)

        return edit

    def _edited(self, i: int, hidden: Tensor, selection: Selection, call: Call) -> Tensor:
        if hidden.shape[:2] != (call.rows, call.tokens):
            raise EngineError(
                "a steered site does not hold one vector per row and token",
                got=f"{self.sites[i].path} of shape {tuple(hidden.shape)} for {call.rows} rows of {call.tokens} tokens",
                remedy="choose another component",
            )
        index, mask = selection.index, selection.mask
        h = hidden if index is None else gather_positions(hidden, index)
        if (quick := self._fused[i]) is not None:
            new = quick(h)
        else:
            edit = self._edit(i, hidden.device)
            if edit.intervention.scope == "sequence" and mask is not None and not call.whole and not bool(mask.any()):
                return hidden  # with a static cache, tokens beyond the prompt
            new = edit.edited(h, self._context(selection, h), call)
        if index is not None:
            assert mask is not None
            return put_positions(hidden, index, mask, new)
        return new if mask is None else torch.where(mask.to(hidden.device)[..., None], new, hidden)

    def _context(self, selection: Selection, h: Tensor) -> Context:
        mask, device = selection.mask, h.device
        factor = None if self._factor is None else expand_rows(self._factor.to(device), h.shape[0], "factors")
        return Context.of_tokens(
            token_mask=None if mask is None else mask.to(device), position_ids=selection.positions.to(device),
            prompt_mask=selection.prompt.to(device), factor=factor, per_row={}, source_masks={}, progress=None,
        )  # fmt: skip

    def _edit(self, i: int, device: torch.device) -> Prompted:
        """The edit, moved to where its site turns out to be."""
        intervention = self._edits[i].intervention
        here = next(iter([*intervention.parameters(), *intervention.buffers()]), None)
        if here is not None and here.device != device:
            intervention.to(device)
        return self._edits[i]


def _valid(call: Call) -> Tensor:
    return torch.ones_like(call.positions, dtype=torch.bool) if call.valid is None else call.valid


def _is_whole(call: Call) -> bool:
    """Whether the real positions of every row are 0, 1, 2, ...: neither packed nor continued."""
    valid = _valid(call)
    return bool((((valid.long().cumsum(1) - 1) == call.positions) | ~valid).all())


def _check_bound(prompts: Sequence[EncodedPrompt], ids: Tensor | None, mask: Tensor, whole: bool) -> None:
    """Raise InputError where a row of ids is not the prompt that was bound to it.

    A bare forward may hold part of a prompt, or more than it (teacher forcing); `generate` is given it whole.
    """
    if ids is None:
        return
    each = ids.shape[0] // len(prompts)
    for i, (row, real) in enumerate(zip(ids, mask, strict=True)):
        found, prompt = row[real].tolist(), prompts[i // each]
        n = max(len(found), len(prompt)) if whole else min(len(found), len(prompt))
        if tuple(found[:n]) != prompt.ids[:n]:
            raise InputError(
                f"row {i} is not the prompt that was bound to it",
                got=f"token ids {found[:n]}, the prompt {prompt.text!r} has {list(prompt.ids[:n])}",
                remedy="give prompts= in the order of the rows, tokenized by steering.encode(prompts)",
            )
