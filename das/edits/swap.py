"""Swap: coordinates are taken from a source, the interchange of DAS (arXiv 2303.02536).

Equation   z' = z_source          (B, P, rank); a source read at one position is broadcast to all P
Raises     CapabilityError where the named source is missing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from das.context import Context
from das.edits.base import Edit, EditResult
from das.errors import CapabilityError
from das.shapes import Activation, Coordinates, SourceCoordinates
from das.types import SOURCE


@final
class Swap(Edit):
    """Interchange with the source called `source`."""

    def __init__(self, source: str = SOURCE) -> None:
        super().__init__()
        self.sources = (source,)

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The source's coordinates."""
        [name] = self.sources
        if name not in sources:
            raise CapabilityError(
                "a swap needs its source's activations",
                got=f"sources {sorted(sources)}, wanted {name!r}",
                remedy="give them, or steer with clamp, add or ablate instead",
            )
        return sources[name].expand_as(z), {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"source": self.sources[0]}
