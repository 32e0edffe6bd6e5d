"""The last word on a fold: a forward of the folded model against one of the hooked model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from das.context import Context
from das.engine.hooks import Visitor, spliced
from das.errors import CapabilityError
from das.interventions.base import Intervention
from das.models.families import BoundSite

#: Largest distance of the logits, relative to their size, by bytes per weight: rounding, and room above it.
_TOLERANCE = {8: 1e-9, 4: 1e-4, 2: 1e-1}
_ROWS, _TOKENS = 2, 16


@torch.no_grad()
def check_fold(
    model: Any, folded: Any, visits: Sequence[tuple[BoundSite, Intervention]], factor: Tensor | None
) -> None:
    """Compare logits on random tokens.

    Raises:
        CapabilityError: they differ by more than rounding.
    """
    table = model.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(table.shape[0], (_ROWS, _TOKENS), generator=generator).to(table.device)
    with spliced([(site, _visitor(x, factor)) for site, x in visits]):
        hooked = _logits(model, ids)
    distance = float((_logits(folded, ids) - hooked).norm() / hooked.norm())
    if not distance <= _TOLERANCE[table.element_size()]:
        raise CapabilityError(
            "folded into its weights this model does not compute what it does with hooks",
            got=f"logits that differ by {distance:.2g} of their size", remedy="steer with das.steer instead",
        )  # fmt: skip


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    return model(input_ids=ids, use_cache=False).logits.double()


def _visitor(intervention: Intervention, factor: Tensor | None) -> Visitor:
    def edit(hidden: Tensor) -> Tensor:
        rows = None if factor is None else factor.to(hidden.device).expand(hidden.shape[0])
        made: Tensor = intervention.to(hidden.device)(hidden, None, Context(factor=rows)).activation
        return made

    return edit
