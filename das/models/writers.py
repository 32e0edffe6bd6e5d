"""What writes to the residual stream: the output projections of a block's two branches."""

from __future__ import annotations

from dataclasses import dataclass

from das.models.parts import Parts
from das.models.sites import is_parallel
from das.models.widths import descend, is_norm

#: Norms of a block whose branches are normed before they read, and not after they write.
_PRE_NORMS = 2


@dataclass(frozen=True)
class Writers:
    """The writers of one block.

    Attributes:
        attention, mlp: paths in the model of the attention's and the MLP's output projections.
        parallel: attention and MLP both read the block's input.
        normed: what they put out is normed before it is added (Gemma 2 and 3, OLMo 2).
    """

    attention: str
    mlp: str
    parallel: bool
    normed: bool


def writers(parts: Parts, layer: int) -> Writers | None:
    """The writers of block `layer`, or None where the block is not laid out as the table of families says."""
    block, layout = parts.blocks[layer], parts.layout
    if descend(block, layout.mix) is None or descend(block, layout.down) is None:
        return None
    norms = sum(is_norm(child) for child in block.children())
    normed = layout.branch not in ("", layout.attention) or norms > _PRE_NORMS
    inside = f"{parts.prefix}.{layer}"
    return Writers(f"{inside}.{layout.mix}", f"{inside}.{layout.down}", is_parallel(parts, block), normed)
