"""The interface of a featurizer: once per forward it gives a frame, in which activations have coordinates.

An intervention computes `h + lift(gate * (edit(z) - z), z)` with `z = coordinates(h)`, so a frame never has to
reconstruct `h`: what its coordinates do not cover stays untouched, exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from das.context import Context
from das.part import Part
from das.shapes import Activation, Basis, Coordinates, SourceActivation, SourceCoordinates


@runtime_checkable
class Frame(Protocol):
    """Coordinates of activations, and activations of changes of coordinates."""

    def coordinates(self, h: SourceActivation) -> SourceCoordinates:
        """Coordinates (B, P, rank) of activations (B, P, width)."""
        ...

    def lift(self, dz: Coordinates, z: Coordinates) -> Activation:
        """The change of the activation, (B, P, width), that a change of coordinates dz stands for at z, (B, P, rank).

        A frame whose decoder is linear does not look at z; another gives decoder(z + dz) - decoder(z).
        """
        ...


@final
@dataclass(frozen=True)
class LinearFrame:
    """Coordinates read along the columns of one matrix and written along those of another.

    Equation   coordinates(h) = read^T h,  lift(dz) = write dz
    Shapes     (width, rank), or (B, width, rank) where every row has its own
    """

    read: Float[Tensor, "*rows width rank"]
    write: Float[Tensor, "*rows width rank"]

    def coordinates(self, h: SourceActivation) -> SourceCoordinates:
        """read^T h."""
        return h @ self.read.to(h.dtype)

    def lift(self, dz: Coordinates, z: Coordinates) -> Activation:
        """write dz, wherever z is."""
        return dz @ self.write.to(dz.dtype).mT


class Featurizer(Part, ABC):
    """Abstract. Parameters live in fp32; activations arrive in fp32 (or fp64), whatever the model's dtype.

    Attributes:
        width: size of the activation.
        rank: number of coordinates.
    """

    width: int
    rank: int

    @abstractmethod
    def frame(self, ctx: Context) -> Frame:
        """The frame of one forward. Called once, so whatever is costly (a QR, a hypernetwork) belongs here."""


class Spanning(ABC):
    """Abstract. Inherited by featurizers whose coordinates span a fixed subspace."""

    @property
    @abstractmethod
    def basis(self) -> Basis:
        """An orthonormal basis of it, (width, rank)."""
