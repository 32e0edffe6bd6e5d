"""What one run of the engine gives to objectives and metrics; everything at the label positions only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


class Reported:
    """What placements reported under names of their own; a mixin of whatever holds `aux`."""

    aux: tuple[Mapping[str, Tensor], ...]

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


@dataclass(frozen=True)
class Outputs(Reported):
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


@dataclass(frozen=True)
class Headless(Reported):
    """A run that stopped before the head: logits over a large vocabulary are made for a few label tokens at a time.

    Attributes:
        hidden: head inputs of the intervened run, (B, K, width).
        runs: head inputs (B, K, width) of the frozen runs.
        head: head inputs to logits.
        aux, watched: as in `Outputs`.
    """

    hidden: Activation
    runs: Mapping[FrozenRun, Activation]
    head: Callable[[Tensor], Tensor]
    aux: tuple[Mapping[str, Tensor], ...] = ()
    watched: tuple[Watched, ...] = ()
