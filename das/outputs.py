"""What one run of the engine gives to objectives and metrics; everything at the label positions only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from das.errors import CapabilityError
from das.shapes import Activation, Logits, PositionMask

#: "target": the source run whose own distribution is the counterfactual one. "reference": the base, not intervened on.
FrozenRun = Literal["target", "reference"]


@dataclass(frozen=True)
class Watched:
    """Activations (B, P, width) of the intervened run at a watched site, with gradient, and which are real (B, P)."""

    activation: Activation
    mask: PositionMask


@dataclass(frozen=True)
class Outputs:
    """Logits of the intervened run and of frozen ones beside it.

    Attributes:
        logits: of the intervened run, (B, K, V), the model's dtype.
        runs: logits (B, K, V) of frozen runs that were asked for, without gradient.
        aux: per placement, what its edit, gate and conditioner reported. Names "penalty/..." are scalars that training
            adds to the loss, already weighted by the part that reports them.
        watched: per watched site, what the intervened run has there.
    """

    logits: Logits
    runs: Mapping[FrozenRun, Logits] = field(default_factory=dict)
    aux: tuple[Mapping[str, Tensor], ...] = ()
    watched: tuple[Watched, ...] = ()

    def run(self, name: FrozenRun, wanted_by: str) -> Logits:
        """Logits of a frozen run.

        Raises:
            CapabilityError: these pairs have none.
        """
        if name not in self.runs:
            raise CapabilityError(
                f"{wanted_by!r} compares with the {name} run's distribution, and these pairs have none",
                got=f"pairs without a {name}",
                remedy="use another (objective=counterfactual_ce), or pairs whose source is itself the counterfactual",
            )
        return self.runs[name].detach()

    def reported(self, name: str) -> list[Tensor]:
        """What placements reported under a name, in order."""
        return [aux[name] for aux in self.aux if name in aux]

    def penalties(self, order: Sequence[int]) -> dict[str, Tensor]:
        """Every reported penalty by name without its prefix: mean over the placements that share an intervention, then
        the sum over distinct ones.

        Args:
            order: number of each placement's intervention (`InterventionSet.order`).
        """
        found: dict[str, Tensor] = {}
        for i, aux in enumerate(self.aux):
            for key, value in aux.items():
                if key.startswith("penalty/"):
                    name, share = key.removeprefix("penalty/"), value / list(order).count(order[i])
                    found[name] = found[name] + share if name in found else share
        return found
