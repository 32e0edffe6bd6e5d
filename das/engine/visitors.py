"""What a forward's hooks do, edit or watch, and what they collect on the way.

Forwards that resume in the middle see the suffix of every row only: `origin` (B,) is the column of the padded prompt
that their column 0 stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from das.batch import PairBatch, Positions
from das.context import Context
from das.engine.hooks import Visitor, gather_positions, put_positions
from das.interventions.base import Intervention
from das.outputs import Watched


@dataclass(frozen=True)
class Seen:
    """Filled by the visitors of one forward.

    Attributes:
        aux: what each placement's parts reported.
        watched: what each watched site holds; None until its block has run.
    """

    aux: list[Mapping[str, Tensor]]
    watched: list[Watched | None]

    def reported(self) -> tuple[tuple[Mapping[str, Tensor], ...], tuple[Watched, ...]]:
        """Both, once the forward has ended."""
        watched = tuple(w for w in self.watched if w is not None)
        assert len(watched) == len(self.watched), "spliced() checks that every hook fired"
        return tuple(self.aux), watched


def editing(
    i: int,
    intervention: Intervention,
    batch: PairBatch,
    origin: Tensor,
    sources: Mapping[str, Tensor],
    progress: float | None,
    seen: Seen,
) -> Visitor:
    """A visitor that intervenes at placement `i`'s positions."""
    write = batch.writes[i]
    where = _moved(write, origin)
    ctx = Context.of_tokens(
        token_mask=write.mask, position_ids=batch.base.position_ids.gather(1, write.index),
        prompt_mask=write.index <= batch.label_positions[:, :1], factor=batch.factor,
        per_row=batch.per_row, source_masks={n: p.mask for n, p in batch.reads[i].items()}, progress=progress,
    )  # fmt: skip

    def visit(hidden: Tensor) -> Tensor:
        edited = intervention(gather_positions(hidden, where.index), sources, ctx)
        seen.aux[i] = edited.aux
        return put_positions(hidden, where.index, where.mask, edited.activation)

    return visit


def watching(i: int, positions: Positions, origin: Tensor, seen: Seen) -> Visitor:
    """A visitor that hands out the `i`-th watched site's activations."""
    where = _moved(positions, origin)

    def visit(hidden: Tensor) -> None:
        seen.watched[i] = Watched(gather_positions(hidden, where.index), where.mask)

    return visit


def label_columns(batch: PairBatch, origin: Tensor) -> Tensor:
    """Label columns (B, K), counted from `origin`."""
    return (batch.label_positions - origin[:, None]).clamp(min=0)


def _moved(where: Positions, origin: Tensor) -> Positions:
    return Positions((where.index - origin[:, None]).clamp(min=0), where.mask)
