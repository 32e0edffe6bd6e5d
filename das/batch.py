"""Tensors of a batch of counterfactual pairs, as `data` makes them and `engine` consumes them.

All indices count columns of the padded `ids` of the prompt they refer to; masks say which entries are real. Padded
entries of an index hold 0 and are never read or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from das.errors import CapabilityError
from das.shapes import Ids, Index, LabelColumns, LabelIds, LabelMask, Logits, PositionMask, TokenMask


@dataclass(frozen=True)
class TokenBatch:
    """Padded token ids; padding on either side."""

    ids: Ids
    mask: TokenMask

    @property
    def position_ids(self) -> Ids:
        """Real positions: 0 for a row's first real token, whatever the padding; pads hold 0 or repeat the last."""
        return (self.mask.long().cumsum(-1) - 1).clamp(min=0)

    def to(self, device: torch.device | str) -> TokenBatch:
        """The same tokens on `device`."""
        return TokenBatch(self.ids.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Positions:
    """Columns of a token batch, (B, P), with a mask for rows that have fewer than P. Valid columns are distinct."""

    index: Index
    mask: PositionMask

    def to(self, device: torch.device | str) -> Positions:
        """The same positions on `device`."""
        return Positions(self.index.to(device), self.mask.to(device))


@dataclass(frozen=True)
class PairBatch:
    """A batch of counterfactual pairs, tokenized with the counterfactual label teacher-forced on base and sources.

    Attributes:
        base: prompt + counterfactual label (all but its last token need be present).
        sources: the same for each named source.
        writes: for every placement of the InterventionSet, the columns of `base` it writes; then, for every site that
            the objective watches, its columns.
        reads: for every placement, source name -> the columns of that source it reads; P equals that of `writes`, or
            is 1 and broadcast.
        label_positions: columns of `base` whose logits predict the label tokens, (B, K).
        label_ids: the counterfactual label's token ids, (B, K).
        label_mask: which label tokens are real, (B, K).
        group: adjacent rows that belong together: 1, or 2 for a contrast's two directions or a winner and a loser.
        per_row: name -> one entry per row, (B, ...), handed on to interventions and objectives.
        draw: a uniform number per row in [0, 1), a function of (seed, epoch, row): all randomness an objective needs.
        factor: steering factor per row, (B,), where the objective trains with factors.
        target: source whose own distribution is to be matched, or None.
        target_positions: columns of `sources[target]` that predict the label tokens, (B, K), or None.
        choices: first-token ids of the task's label set after this prompt, (B, C), or None where there is no such set.
        base_choice, counterfactual_choice: index into `choices`, (B,), or None.
        rival_choice: the same of what the base's label competes with, or None where pairs have no rival.
        rows: dataset row numbers, the caches' keys, (B,).
    """

    base: TokenBatch
    sources: Mapping[str, TokenBatch]
    writes: tuple[Positions, ...]
    reads: tuple[Mapping[str, Positions], ...]
    label_positions: LabelColumns
    label_ids: LabelIds
    label_mask: LabelMask
    rows: Int[Tensor, " batch"]
    changed: Bool[Tensor, " batch"]
    group: int = 1
    per_row: Mapping[str, Tensor] = field(default_factory=dict)
    draw: Float[Tensor, " batch"] | None = None
    factor: Float[Tensor, " batch"] | None = None
    target: str | None = None
    target_positions: LabelColumns | None = None
    choices: Int[Tensor, "batch choice"] | None = None
    base_choice: Int[Tensor, " batch"] | None = None
    counterfactual_choice: Int[Tensor, " batch"] | None = None
    rival_choice: Int[Tensor, " batch"] | None = None

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def to(self, device: torch.device | str) -> PairBatch:
        """The same batch with every tensor on `device`."""
        return replace(self, **{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def readout(
    logits: Logits, batch: PairBatch, wanted_by: str, dtype: torch.dtype = torch.float32
) -> Float[Tensor, " batch"]:
    """logit(base label) - logit(rival) at the first label position, in `dtype` or what is wider.

    Raises:
        CapabilityError: these pairs have no rival, or no label set.
    """
    if batch.choices is None or batch.base_choice is None or batch.rival_choice is None:
        raise CapabilityError(
            f"{wanted_by} reads how far the base's label is ahead of its rival, and these pairs have none",
            got="pairs without a label set" if batch.choices is None else "pairs without a rival",
            remedy="use a task whose pairs name one, or logit_difference",
        )  # fmt: skip
    first = logits[:, 0].gather(1, batch.choices).to(torch.promote_types(logits.dtype, dtype))
    own, rival = (first.gather(1, i[:, None])[:, 0] for i in (batch.base_choice, batch.rival_choice))
    return own - rival


def values_of(batch: PairBatch, wanted_by: str) -> Float[Tensor, " batch"]:
    """The causal model's value of every pair.

    Raises:
        CapabilityError: these pairs have none.
    """
    found = batch.per_row.get("value")
    if found is None:
        raise no_values(wanted_by)
    return found


def no_values(wanted_by: str) -> CapabilityError:
    """Says that pairs have no value, and which have."""
    return CapabilityError(
        f"{wanted_by} needs a causal model's logit difference of every pair, and these have none",
        got="pairs without a value", remedy="use a task whose causal model predicts logits, with the settings it needs",
    )  # fmt: skip


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor | TokenBatch | Positions):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(v, device) for v in value)
    if isinstance(value, Mapping):
        return {k: _moved(v, device) for k, v in value.items()}
    return value
