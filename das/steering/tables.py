"""Which real positions of which row are edited, as a table that any later forward looks up.

`tabulate` is called once per prompt batch; `Table.at` is one gather per forward. A table covers every form of the
position grammar: prompt positions one by one, and all later ones by its last column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from das.data.positions import PositionSpec, choose
from das.data.tokenize import EncodedPrompt
from das.errors import PositionError
from das.steering.calls import Call, expand_rows
from das.types import SpanFinder


@dataclass(frozen=True)
class Table:
    """Selected real positions per prompt.

    Attributes:
        selected: (rows, N + 1); the last column stands for every position from N on.
        after: whether the positions after the prompt are selected: all (True), none (False), or it varies (None).
        lengths: how long the prompts are, (rows,); 0 where only what comes after them is looked up.
    """

    selected: Bool[Tensor, "prompts positions"]
    after: bool | None
    lengths: Int[Tensor, " prompts"]

    def at(self, positions: Int[Tensor, "batch tokens"]) -> Bool[Tensor, "batch tokens"]:
        """Whether each position is selected; rows that are a multiple of the table's repeat it in place."""
        table = expand_rows(self.selected.to(positions.device), positions.shape[0], "prompts")
        return table.gather(1, positions.clamp(0, table.shape[1] - 1))

    def of_prompt(self, positions: Int[Tensor, "batch tokens"]) -> Bool[Tensor, "batch tokens"]:
        """Whether each position belongs to the prompt, not to what comes after it."""
        return positions < expand_rows(self.lengths.to(positions.device), positions.shape[0], "prompts")[:, None]


@dataclass(frozen=True)
class Selection:
    """Columns of one forward to edit.

    Attributes:
        index: (B, P) columns, or None for all of them.
        mask: (B, P) which entries are to be edited, or None for all.
    """

    index: Tensor | None
    mask: Tensor | None
    _call: Call
    _table: Table

    @property
    def positions(self) -> Tensor:
        """(B, P), their real positions."""
        positions = self._call.positions
        return positions if self.index is None else positions.gather(1, self.index)

    @property
    def prompt(self) -> Tensor:
        """(B, P), which of them belong to the prompt."""
        return self._table.of_prompt(self.positions)


def select(table: Table, call: Call) -> Selection | None:
    """The columns of this call that the table selects, pads never; None where there are none."""
    if call.decoding and table.after is not None:
        return Selection(None, None, call, table) if table.after else None
    chosen = table.at(call.positions)
    if call.valid is not None:
        chosen = chosen & call.valid
    if call.tokens == 1:  # no question to the device in the middle of decoding
        return Selection(None, chosen, call, table)
    most = int(chosen.sum(1).max())
    if most == 0:
        return None
    if bool(chosen.all()):
        return Selection(None, None, call, table)
    index = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return Selection(index, chosen.gather(1, index), call, table)


def tabulate(
    spec: PositionSpec, prompts: Sequence[EncodedPrompt], device: torch.device, finder: SpanFinder | None = None
) -> Table:
    """The table of one position spec for these prompts.

    Raises:
        PositionError: a prompt does not have these positions.
    """
    chosen = [_chosen(spec, prompt, finder) for prompt in prompts]
    size = max(max([*single, -1]) + 1 if tail is None else tail for single, tail in chosen)
    selected = torch.zeros(len(prompts), size + 1, dtype=torch.bool)
    for row, (single, tail) in zip(selected, chosen, strict=True):
        row[single] = True
        if tail is not None:
            row[tail:] = True
    lengths = torch.tensor([len(p) for p in prompts])
    return Table(selected.to(device), _after(chosen, prompts), lengths.to(device))


def without_prompt(spec: PositionSpec, prefix: int, device: torch.device) -> Table:
    """The table of a spec that needs no prompt, for rows that go on after a prompt of unknown length."""
    assert not spec.needs_prompt
    long_enough = (0,) * (1 + max(prefix, *spec.numbers, 0))
    table = tabulate(spec, [EncodedPrompt(long_enough, (), prefix, "", {})], device)
    return replace(table, lengths=torch.zeros_like(table.lengths))


def _after(chosen: Sequence[tuple[list[int], int | None]], prompts: Sequence[EncodedPrompt]) -> bool | None:
    lengths = [len(p) for p in prompts]
    if all(tail is not None and tail <= n for (_, tail), n in zip(chosen, lengths, strict=True)):
        return True
    if all(tail is None and max([*single, -1]) < n for (single, tail), n in zip(chosen, lengths, strict=True)):
        return False
    return None


def _chosen(spec: PositionSpec, prompt: EncodedPrompt, finder: SpanFinder | None) -> tuple[list[int], int | None]:
    """Positions one by one, and the position from which on all are selected (or None)."""
    if spec.kind == "span" and not prompt.spans.get(spec.name):
        raise _no_span(spec, prompt, finder)
    chosen = choose(spec, prompt)
    return [i for group in chosen.groups for i in group], chosen.tail


def _no_span(spec: PositionSpec, prompt: EncodedPrompt, finder: SpanFinder | None) -> PositionError:
    if finder is None or finder.span != spec.name:
        how = "it has no finder for that span, and the prompt marks none"
    else:
        how = f"its finder ({len(finder.words)} known words) did not find it in this prompt"
    return PositionError(
        f"the subspace is steered at span {spec.name!r}, but {how}",
        got=f"prompt {prompt.text!r} and positions {spec.text!r}",
        remedy="mark the words as [[...]] in the prompt, or choose other positions",
    )
