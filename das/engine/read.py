"""Reading activations of the unmodified model, and what is read of a batch's frozen runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import Positions, TokenBatch
from das.engine.bypass import LOCK
from das.engine.hooks import captures, spliced
from das.engine.resume import call
from das.models.families import BoundSite, ModelView
from das.outputs import FrozenRun


@dataclass(frozen=True)
class SourceState:
    """What frozen runs contribute to a batch.

    Attributes:
        reads: for every placement, source name -> activations (B, P or 1, width).
        hidden: head inputs of the frozen runs asked for, at the label positions, (B, K, width).
    """

    reads: tuple[Mapping[str, Tensor], ...]
    hidden: Mapping[FrozenRun, Tensor]


@torch.no_grad()
def read(
    view: ModelView, tokens: TokenBatch, wanted: Sequence[tuple[BoundSite, Positions]]
) -> list[Float[Tensor, "batch position width"]]:
    """Activations of the unmodified model at sites and positions, running no further than the deepest of them."""
    visits, found = captures([(bound, where.index) for bound, where in wanted], stop=True)
    with LOCK, spliced(visits):
        call(view, tokens.ids, tokens.mask, tokens.position_ids)
    return [_captured(f) for f in found]


def _captured(activation: Tensor | None) -> Tensor:
    assert activation is not None, "spliced() checks that every hook fired"
    return activation
