"""Assigned swap: every base token takes its coordinates from the source tokens a conditioner assigns to it (HyperDAS).

Equation   z'_j = w_j,keep z_j + sum_i w_ji z_source,i,   w = "assignment" (B, P, S + 1) of the context, `keep` last
           a one-hot w is a plain swap of the chosen pairs of tokens, and leaves the others alone   (arXiv 2503.10894)
Raises     CapabilityError where the source or the assignment is missing
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
class AssignedSwap(Edit):
    """Interchange between assigned tokens of the base and of the source called `source`."""

    scope = "sequence"
    aligned = False
    wants = ("assignment",)

    def __init__(self, source: str = SOURCE) -> None:
        super().__init__()
        self.sources = (source,)

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The assigned coordinates."""
        [name] = self.sources
        if name not in sources:
            raise CapabilityError(
                "a swap needs its source's activations", got=f"sources {sorted(sources)}, wanted {name!r}",
                remedy="give them, or steer with clamp, add or ablate instead",
            )  # fmt: skip
        w = ctx.row("assignment").to(z)
        return w[..., -1:] * z + w[..., :-1] @ sources[name], {}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"source": self.sources[0]}
