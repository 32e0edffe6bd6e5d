"""The interface of a gate: `gate(z, h, ctx) -> (share, aux)`, the share of each coordinate's change, in [0, 1].

The share's shape is (B, P, rank) or broadcasts to it; aux is as in `das.edits.base`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Bool, Float
from torch import Tensor

from das.context import Context
from das.part import Part
from das.shapes import Activation, Coordinates

GateResult = tuple[Float[Tensor, "#batch #position #rank"], dict[str, Tensor]]


class Gate(Part, ABC):
    """Abstract.

    Attributes:
        constant: whether after training the share depends on neither activations nor positions.
    """

    constant: bool = False

    @abstractmethod
    def forward(self, z: Coordinates, h: Activation, ctx: Context) -> GateResult:
        """The share of each coordinate's change that is applied, and aux values."""


class Selective(ABC):
    """Abstract. Inherited by gates that leave a fixed set of coordinates open after training: as many as the subspace
    has dimensions.
    """

    @abstractmethod
    def support(self) -> Bool[Tensor, " rank"]:
        """Which coordinates are open."""
