"""Rows of the table to one padded `PairBatch`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from das.batch import PairBatch, Positions, TokenBatch


@dataclass(frozen=True)
class Layout:
    """What a batch looks like: padding, source names, target, the sources each placement reads, rows per group."""

    padding_side: str
    pad_id: int
    sources: tuple[str, ...]
    target: str | None
    reads: tuple[tuple[str, ...], ...]
    group: int = 1


def pad(
    rows: Sequence[Sequence[int]], value: int, side: str = "right"
) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
    """Rows padded with `value` to the longest, and the mask of real entries."""
    lengths = [len(row) for row in rows]
    width, left = max(lengths), side == "left"
    room = [[value] * (width - length) for length in lengths]
    filled = [[*r, *row] if left else [*row, *r] for row, r in zip(rows, room, strict=True)]
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    return torch.tensor(filled, dtype=torch.long), mask.flip(1) if left else mask


def collate(table: Mapping[str, Sequence[Any]], rows: Sequence[int], layout: Layout, draws: str = "") -> PairBatch:
    """One batch of the given columns (`das.data.rows`), whose entries are those of dataset rows `rows`."""
    base, shift = _tokens(table["base"], layout)
    sources = {name: _tokens(table[f"source:{name}"], layout) for name in layout.sources}
    label, label_mask = pad(table["label"], 0)
    target = layout.target
    choices = {
        name: torch.tensor(table[name], dtype=torch.long)
        for name in ("choices", "base_choice", "counterfactual_choice", "rival_choice")
        if name in table
    }
    return PairBatch(
        base=base,
        sources={name: tokens for name, (tokens, _) in sources.items()},
        writes=tuple(_positions(table[f"write:{i}"], shift) for i in range(len(layout.reads))),
        reads=tuple(
            {name: _positions(table[f"read:{i}:{name}"], sources[name][1]) for name in names}
            for i, names in enumerate(layout.reads)
        ),
        label_positions=_predicting(table["base_prompt"], shift, label_mask),
        label_ids=label,
        label_mask=label_mask,
        rows=torch.tensor(list(rows), dtype=torch.long),
        changed=torch.tensor(table["changed"], dtype=torch.bool),
        group=layout.group,
        per_row={name.removeprefix("row:"): torch.tensor(table[name]) for name in table if name.startswith("row:")},
        draw=torch.tensor([random.Random(f"{draws}/{row}").random() for row in rows]),
        target=target,
        target_positions=None
        if target is None
        else _predicting(table[f"source_prompt:{target}"], sources[target][1], label_mask),
        **choices,
    )


def _tokens(rows: Sequence[Sequence[int]], layout: Layout) -> tuple[TokenBatch, Int[Tensor, " batch"]]:
    """The padded rows, and the column of each row's first real token."""
    ids, mask = pad(rows, layout.pad_id, layout.padding_side)
    return TokenBatch(ids, mask), mask.long().argmax(-1)


def _positions(rows: Sequence[Sequence[int]], shift: Int[Tensor, " batch"]) -> Positions:
    index, mask = pad(rows, 0)
    return Positions((index + shift[:, None]) * mask, mask)


def _predicting(
    prompt: Sequence[int], shift: Int[Tensor, " batch"], mask: Bool[Tensor, "batch label"]
) -> Int[Tensor, "batch label"]:
    """Columns whose logits predict the label tokens; 0 where there is none."""
    last = torch.tensor(prompt) - 1 + shift
    return (last[:, None] + torch.arange(mask.shape[1])) * mask
