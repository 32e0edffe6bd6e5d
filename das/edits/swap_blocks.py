"""Swap blocks: disjoint groups of coordinates are taken from different sources, a multi-source interchange.

Equation   z'[block_i] = z_{s_i}[block_i] for every source i; coordinates in no block stay    (arXiv 2301.04709)
Shapes     block i has `sizes[i]` coordinates, in order, from coordinate 0 on
A source that equals the base leaves its block alone, exactly: so one dataset holds interchanges of any subset.
Raises     CapabilityError where a named source is missing, InputError for blocks that do not fit
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch

from das.context import Context
from das.edits.base import Edit, EditResult
from das.errors import CapabilityError, InputError
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class SwapBlocks(Edit):
    """Interchange of one block of coordinates per source.

    Args:
        rank: number of coordinates.
        sources: names of the sources, in block order.
        sizes: coordinates of each block.
    """

    def __init__(self, rank: int, sources: Sequence[str], sizes: Sequence[int]) -> None:
        super().__init__()
        names, sizes = tuple(sources), tuple(sizes)
        if len(names) != len(sizes) or len(set(names)) < len(names) or not names:
            raise InputError("every source needs its own block", got=f"sources {names}, sizes {sizes}")
        if min(sizes) < 1 or sum(sizes) > rank:
            raise InputError("blocks must hold at least one coordinate each and fit the rank", got=f"{sizes} in {rank}")
        self.rank, self.sources, self.sizes = rank, names, sizes

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """Block by block."""
        if missing := [name for name in self.sources if name not in sources]:
            raise CapabilityError(
                "a swap needs the activations of all its sources",
                got=f"sources {sorted(sources)}, missing {missing}",
                remedy="give them (the base itself leaves a block alone), or steer with clamp, add or ablate instead",
            )
        blocks, start = [], 0
        for name, size in zip(self.sources, self.sizes, strict=True):
            blocks.append(sources[name][..., start : start + size].expand(*z.shape[:-1], size))
            start += size
        return torch.cat([*blocks, z[..., start:]], -1), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"rank": self.rank, "sources": list(self.sources), "sizes": list(self.sizes)}
