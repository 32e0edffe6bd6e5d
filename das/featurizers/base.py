"""The interface of a featurizer: `coordinates(h) -> z` and `lift(dz) -> dh`.

An intervention computes `h + lift(gate * (edit(z) - z))`, so a featurizer never has to reconstruct `h`: what its
coordinates do not cover stays untouched, exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from das.batch import Context
from das.shapes import Coordinates, SourceActivation


class Featurizer(nn.Module, ABC):
    """Abstract. Parameters live in fp32; inputs arrive in fp32 (or fp64), whatever the model's dtype.

    Attributes:
        width: size of the activation.
        rank: number of coordinates.
    """

    width: int
    rank: int

    @abstractmethod
    def coordinates(self, h: SourceActivation, ctx: Context) -> Coordinates:
        """Coordinates (B, P, rank) of activations (B, P, width)."""

    @abstractmethod
    def lift(self, dz: Coordinates, ctx: Context) -> SourceActivation:
        """The change of the activation, (B, P, width), that a change of coordinates (B, P, rank) stands for."""

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Constructor arguments as plain data: with them and the state dict an artifact rebuilds the featurizer."""

    def invariants(self) -> dict[str, float]:
        """Name -> violation (0 is perfect) of what must hold, e.g. `{"orthonormal": max |R^T R - I|}`."""
        return {}

    def project_gradient(self) -> None:
        """Replace the parameters' gradient by its tangent part before an optimiser step. Nothing to do by default."""

    def retract(self) -> None:
        """Return the parameters to their manifold after an optimiser step. Nothing to do by default."""
