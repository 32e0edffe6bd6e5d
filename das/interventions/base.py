"""The one equation: h' = h + lift(gate * (edit(z) - z)) with z = coordinates(h).

Written as a change, so that `source == base` is an exact no-op, whatever the featurizer does not cover is untouched,
and an imperfect featurizer's reconstruction error cancels. The maths runs in fp32 (or fp64 if the activation is fp64)
with autocast off; the result returns in the activation's dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from das.batch import Context
from das.edits.base import Edit
from das.featurizers.base import Featurizer
from das.gates.all import All
from das.gates.base import Gate
from das.shapes import Activation, SourceActivation

SteeringOp = Literal["clamp", "add", "ablate", "as_trained"]
Pairing = Literal["interchange", "contrast"]

_NO_CONTEXT = Context()


@dataclass(frozen=True)
class Capabilities:
    """What a method can do; asking for anything else is a `CapabilityError`.

    Attributes:
        pairing: the data it trains on: interchange pairs with labels, or contrast quadruples in both directions.
        steering: operations it can steer with, the default first. "as_trained" reuses its own edit.
        positions: "independent" if every position is edited on its own, "sequence" if they interact.
        per_row_factor: whether one batch may hold several factors.
        foldable: whether the steered model can be written as plain weights.
    """

    pairing: Pairing = "interchange"
    steering: tuple[SteeringOp, ...] = ("clamp", "add", "ablate")
    positions: Literal["independent", "sequence"] = "independent"
    per_row_factor: bool = True
    foldable: bool = False


@dataclass(frozen=True)
class Edited:
    """An edited activation (B, P, width) in its own dtype, and what edit and gate reported."""

    activation: Activation
    aux: Mapping[str, Tensor]


@final
class Intervention(nn.Module):
    """Featurizer, edit and gate composed at one site.

    Args:
        featurizer: which coordinates.
        edit: what happens to them.
        gate: how much of each; all of it by default.
        name: the method's name, for artifacts and messages.
        capabilities: what the method can do.
    """

    def __init__(
        self,
        featurizer: Featurizer,
        edit: Edit,
        gate: Gate | None = None,
        *,
        name: str = "custom",
        capabilities: Capabilities | None = None,
    ) -> None:
        super().__init__()
        self.featurizer, self.edit, self.gate = featurizer, edit, gate or All()
        self.name, self.capabilities = name, capabilities or Capabilities()

    @property
    def width(self) -> int:
        """Size of the activation."""
        return self.featurizer.width

    @property
    def rank(self) -> int:
        """Number of coordinates."""
        return self.featurizer.rank

    def forward(
        self, h: Activation, sources: Mapping[str, SourceActivation] | None = None, ctx: Context = _NO_CONTEXT
    ) -> Edited:
        """Edit activations (B, P, width), given the sources' activations (B, P or 1, width)."""
        with torch.autocast(h.device.type, enabled=False):
            x = h.to(torch.promote_types(h.dtype, torch.float32))
            z = self.featurizer.coordinates(x, ctx)
            zs = {name: self.featurizer.coordinates(s.to(x.dtype), ctx) for name, s in (sources or {}).items()}
            edited, aux = self.edit(z, x, zs, ctx)
            share, gate_aux = self.gate(z, x, ctx)
            dz = edited - z if share is None else share * (edited - z)
            return Edited((x + self.featurizer.lift(dz, ctx)).to(h.dtype), {**aux, **gate_aux})

    def coordinates(self, h: Activation, ctx: Context = _NO_CONTEXT) -> Tensor:
        """Coordinates (B, P, rank) of activations (B, P, width), in fp32 or better."""
        return self.featurizer.coordinates(h.to(torch.promote_types(h.dtype, torch.float32)), ctx)

    def project_gradient(self) -> None:
        """Keep the gradient's tangent part before an optimiser step."""
        self.featurizer.project_gradient()

    def retract(self) -> None:
        """Return parameters to their manifold after an optimiser step."""
        self.featurizer.retract()
