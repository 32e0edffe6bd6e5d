"""Where each row of a batch splits into a prefix that no edit can reach and a suffix that has to run again.

Prefixes are left-padded and suffixes right-padded, so each row's real tokens are contiguous, and the row with the
smallest position does not cost the others their speed. Suffixes end at the last label position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from das.batch import PairBatch


@dataclass(frozen=True)
class Layout:
    """How a batch's base tokens split at each row's first intervened position.

    Attributes:
        start: column of the first suffix token, (B,).
        prefix, prefix_mask: columns of the tokens before it, left-padded, (B, Lp).
        suffix, suffix_mask: columns from it to the last token needed, right-padded, (B, Ls).
    """

    start: Int[Tensor, " batch"]
    prefix: Int[Tensor, "batch before"]
    prefix_mask: Bool[Tensor, "batch before"]
    suffix: Int[Tensor, "batch after"]
    suffix_mask: Bool[Tensor, "batch after"]


def layout(batch: PairBatch) -> Layout:
    """Split every row at the first position that any placement writes."""
    first = torch.stack([torch.where(w.mask, w.index, torch.iinfo(torch.long).max).amin(1) for w in batch.writes]).amin(
        0
    )
    last = torch.where(batch.label_mask, batch.label_positions, 0).amax(1)
    for w in batch.writes:
        last = torch.maximum(last, torch.where(w.mask, w.index, 0).amax(1))
    begin = batch.base.mask.long().argmax(1)
    before, after = first - begin, last - first + 1
    steps = torch.arange(int(before.max()), device=first.device) - int(before.max())
    prefix = first[:, None] + steps
    prefix_mask = prefix >= begin[:, None]
    ahead = torch.arange(int(after.max()), device=first.device)
    suffix_mask = ahead < after[:, None]
    suffix = torch.where(suffix_mask, first[:, None] + ahead, last[:, None])
    return Layout(first, torch.where(prefix_mask, prefix, begin[:, None]), prefix_mask, suffix, suffix_mask)
