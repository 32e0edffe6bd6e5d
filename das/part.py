"""What featurizers, edits, gates and conditioners have in common: they can be rebuilt from plain data and tensors.

`Part` is all a part must be. What only some parts are is a protocol of its own, and nobody has to inherit it:
`Constrained` parts have parameters on a manifold, `Grouped` parts learn at rates of their own, `Penalised` ones have a
price.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

#: "token": every position is treated on its own, so it can run token by token. "sequence": positions of a row interact.
Scope = Literal["token", "sequence"]


class Part(nn.Module, ABC):
    """Abstract. A piece of an intervention, small, in fp32, without state between calls.

    Attributes:
        scope: whether positions of a row interact.
    """

    scope: Scope = "token"

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Constructor arguments as plain data: with them and the state dict an artifact rebuilds the part."""


@runtime_checkable
class Constrained(Protocol):
    """A part whose parameters live on a manifold."""

    def invariants(self) -> dict[str, float]:
        """Name -> violation (0 is perfect) of what must hold, e.g. `{"orthonormal": max |R^T R - I|}`."""
        ...

    def project_gradient(self) -> None:
        """Replace the parameters' gradient by its tangent part, before an optimiser step."""
        ...

    def retract(self) -> None:
        """Return the parameters to their manifold, after an optimiser step."""
        ...


@runtime_checkable
class Penalised(Protocol):
    """A part whose parameters alone have a price; edits, gates and conditioners report prices of what they did."""

    def penalties(self) -> dict[str, Tensor]:
        """Name -> scalar that training adds to the loss, already weighted."""
        ...


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that learn alike.

    Attributes:
        parameters: which.
        lr_scale: multiple of the optimiser's learning rate.
        decay: whether weight decay applies.
    """

    parameters: Sequence[nn.Parameter]
    lr_scale: float = 1.0
    decay: bool = True


@runtime_checkable
class Grouped(Protocol):
    """A part that says how its parameters learn; others learn at the optimiser's rate, decayed unless constrained."""

    def groups(self) -> Sequence[ParamGroup]:
        """All of its parameters, in groups."""
        ...


def groups_of(part: Part) -> list[ParamGroup]:
    """How a part's trainable parameters learn."""
    if isinstance(part, Grouped):
        own = part.groups()
    else:
        own = [ParamGroup(tuple(part.parameters()), decay=not isinstance(part, Constrained))]
    kept = [ParamGroup([p for p in g.parameters if p.requires_grad], g.lr_scale, g.decay) for g in own]
    return [g for g in kept if g.parameters]
