"""Identity: the coordinates are the neurons themselves. With a swap it is the full-vector (vanilla) interchange.

Equation   coordinates(h) = h,  lift(dz) = dz
Shapes     h (B, P, width) -> z (B, P, width)
"""

from __future__ import annotations

from typing import Any, final

from das.context import Context
from das.featurizers.base import Featurizer
from das.shapes import Activation, Coordinates, SourceActivation, SourceCoordinates


@final
class Identity(Featurizer):
    """All neurons of the site; its own frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = self.rank = width

    def frame(self, ctx: Context) -> Identity:
        """Itself."""
        return self

    def coordinates(self, h: SourceActivation) -> SourceCoordinates:
        """The activation itself."""
        return h

    def lift(self, dz: Coordinates, z: Coordinates) -> Activation:
        """The change itself."""
        return dz

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width}
