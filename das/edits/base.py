"""The interface of an edit: `edit(z, h, sources, ctx) -> (z', aux)`.

`sources` maps source names to *their* coordinates in the same frame. `aux` carries latents that an objective may use
and, under names "penalty/...", scalars that training adds to the loss. An edit keeps no state between calls.

An edit that steers may inherit `Calibrated` (it uses a concept's statistics) and `Valued` (it takes coordinates).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from das.context import Context
from das.factors import Factors, RankVector
from das.part import Part
from das.shapes import Activation, Coordinates, SourceCoordinates

EditResult = tuple[Coordinates, dict[str, Tensor]]
#: Which steering factors make sense: "none", any but 0 ("nonzero"), or "any".
Takes = Literal["none", "nonzero", "any"]


class Edit(Part, ABC):
    """Abstract.

    Attributes:
        sources: names of the sources it needs; empty for edits without one.
        aligned: whether it needs as many positions (or one) of each source as it writes; others get all that are read.
        factor: which steering factors it takes.
        one_way: whether a negative factor is no way to the other concept value: it undoes or mirrors what was fitted.
        affine: whether it is an affine function of (z, h), the same at all positions, for any given factor.
    """

    sources: tuple[str, ...] = ()
    aligned: bool = True
    factor: Takes = "none"
    one_way: bool = False
    affine: bool = False

    @abstractmethod
    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """New coordinates (B, P, rank) and aux values."""


class Calibrated(ABC):
    """Abstract. Inherited by edits that steer by a concept's statistics."""

    @abstractmethod
    def calibrated(self, factors: Factors) -> Edit:
        """The edit that knows them."""


class Valued(ABC):
    """Abstract. Inherited by edits that steer by raw coordinates."""

    @abstractmethod
    def at(self, value: RankVector) -> Edit:
        """The edit with these coordinates (rank,)."""
