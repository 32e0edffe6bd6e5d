"""The last word on a fold: the folded model's logits against those of the hooked one and of the unmodified one.

Compared in fp32 or better whatever the weights' dtype, so that 16-bit forwards cannot hide what a fold did not do. What
is left of 16 bits is the rounding of the weights that were rewritten.
Cost     three short forwards; models of 16 bits are copied in fp32, one at a time
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from das.context import Context
from das.engine.hooks import Visitor, spliced
from das.errors import CapabilityError
from das.interventions.base import Intervention
from das.models.families import BoundSite, ModelView

#: Largest distance of the logits, relative to their size, by bytes per weight: rounding, and room above it.
_TOLERANCE = {8: 1e-9, 4: 1e-4, 2: 1e-1}
#: Largest distance relative to what the steering changes, and the rounding below which that is not asked.
_SHARE, _ROUNDING = 0.1, {8: 1e-13, 4: 1e-6, 2: 1e-6}
_ROWS, _TOKENS = 2, 16


@torch.no_grad()
def check_fold(
    model: Any, folded: Any, visits: Sequence[tuple[BoundSite, Intervention]], factor: Tensor | None
) -> None:
    """Compare logits on random tokens.

    Raises:
        CapabilityError: they differ by more than rounding, or by more than a share of what the steering changes.
    """
    table = model.get_input_embeddings().weight
    generator, size = torch.Generator().manual_seed(0), table.element_size()
    ids = torch.randint(table.shape[0], (_ROWS, _TOKENS), generator=generator).to(table.device)
    wide = _wide(model)
    plain = _logits(wide, ids)
    with spliced([(ModelView(wide).bind(site.site), _visitor(x, factor)) for site, x in visits]):
        hooked = _logits(wide, ids)
    del wide
    distance, effect = (float((x - hooked).norm() / hooked.norm()) for x in (_logits(_wide(folded), ids), plain))
    if not distance <= min(_TOLERANCE[size], max(_SHARE * effect, _ROUNDING[size])):
        raise CapabilityError(
            "folded into its weights this model does not compute what it does with hooks",
            got=f"logits that differ by {distance:.2g} of their size, where the steering changes {effect:.2g}",
            remedy="steer with das.steer instead" + (", or fold into a float32 model" if size == 2 else ""),
        )  # fmt: skip


def _wide(model: Any) -> Any:
    return deepcopy(model).float() if model.get_input_embeddings().weight.element_size() == 2 else model


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    return model(input_ids=ids, use_cache=False).logits.double()


def _visitor(intervention: Intervention, factor: Tensor | None) -> Visitor:
    def edit(hidden: Tensor) -> Tensor:
        rows = None if factor is None else factor.to(hidden.device).expand(hidden.shape[0])
        made: Tensor = intervention.to(hidden.device)(hidden, None, Context(factor=rows)).activation
        return made

    return edit
