"""What featurizers, edits, gates and conditioners have in common: they can be rebuilt from plain data and tensors.

`Part` is all a part must be. What must keep something true inherits `Constrained`, what learns at rates of its own
`Grouped`, what has a price `Penalised`. All three count wherever they are nested: a part made of others does not have
to pass anything on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

#: "token": every position is treated on its own, so it can run token by token. "sequence": positions of a row interact.
Scope = Literal["token", "sequence"]


class Part(nn.Module, ABC):
    """Abstract. A piece of an intervention, small, in fp32, without state between calls.

    Attributes:
        scope: whether positions of a row interact.
        wants: names of what a conditioner has to know of every row for it.
    """

    scope: Scope = "token"
    wants: tuple[str, ...] = ()

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Constructor arguments as plain data: with them and the state dict an artifact rebuilds the part."""


class Constrained(ABC):
    """Abstract. A part, or a module inside of one, of which something must hold; its parameters are never decayed."""

    @abstractmethod
    def invariants(self) -> dict[str, float]:
        """Name -> violation (0 is perfect) of what must hold, e.g. `{"orthonormal": max |R^T R - I|}`; of it alone."""

    def project_gradient(self) -> None:  # noqa: B027
        """Replace the parameters' gradient by its tangent part, before an optimiser step; nothing by default."""

    def retract(self) -> None:  # noqa: B027
        """Return the parameters to where they must be, after an optimiser step; nothing by default."""


class Penalised(ABC):
    """Abstract. A module whose parameters alone have a price; parts report the prices of what they did themselves."""

    @abstractmethod
    def penalties(self) -> dict[str, Tensor]:
        """Name -> scalar that training adds to the loss, already weighted."""


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


class Grouped(ABC):
    """Abstract. A module that says how its parameters learn; others learn at the optimiser's rate, decayed unless
    constrained.
    """

    @abstractmethod
    def groups(self) -> Sequence[ParamGroup]:
        """All of its parameters, in groups."""


def groups_of(module: nn.Module) -> list[ParamGroup]:
    """How the trainable parameters of a part, and of everything nested in it, learn."""
    kinds: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for group in _groups(module, decay=True):
        kinds.setdefault((group.lr_scale, group.decay), []).extend(p for p in group.parameters if p.requires_grad)
    return [ParamGroup(found, *kind) for kind, found in kinds.items() if found]


def _groups(module: nn.Module, decay: bool) -> Iterator[ParamGroup]:
    if isinstance(module, Grouped):
        yield from module.groups()
        return
    decay = decay and not isinstance(module, Constrained)
    yield ParamGroup(tuple(module.parameters(recurse=False)), decay=decay)
    for child in module.children():
        yield from _groups(child, decay)
