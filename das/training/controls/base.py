"""The interface of a control, and how controls are found: module NAME defines a `CONTROL`.

A control makes interventions to be measured exactly as the learned ones are. Those that are trained are kept in the
artifact, so that they can be measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from das.errors import CapabilityError
from das.interventions.sets import InterventionSet
from das.members import Members
from das.training.problem import Problem
from das.training.recipe import Recipe


@dataclass(frozen=True)
class Subject:
    """What a control is made for.

    Attributes:
        problem: model, task, data.
        learned: the learned interventions, as an interchange.
        recipe: how they were made; None where nothing is to be trained any more.
        wrong_positions: where the wrong-site control reads and writes.
    """

    problem: Problem
    learned: InterventionSet
    recipe: Recipe | None = None
    wrong_positions: str = "last"

    def again(self) -> Recipe:
        """How the learned interventions were made.

        Raises:
            CapabilityError: nobody knows.
        """
        if self.recipe is None:
            raise CapabilityError("this control has to be trained", got="a finished subspace that does not hold it")
        return self.recipe


@runtime_checkable
class Control(Protocol):
    """Makes what the learned interventions are compared with.

    Attributes:
        title: its name in tables.
        meaning: one line for people.
        trained: whether it takes training; then it is kept in the artifact.
    """

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def meaning(self) -> str: ...  # noqa: D102
    @property
    def trained(self) -> bool: ...  # noqa: D102

    def make(self, subject: Subject) -> Sequence[InterventionSet | None]:
        """Interventions whose numbers are averaged; None is the unmodified model.

        Raises:
            CapabilityError: it makes no sense for these interventions; the message says why.
        """
        ...


_MEMBERS = Members(__package__ or "", "CONTROL", "control")


def names() -> tuple[str, ...]:
    """All controls, in the order in which tables show them."""
    return tuple(sorted(_MEMBERS.names(), key=lambda name: (control(name).trained, name)))


def control(name: str) -> Control:
    """The control of that name.

    Raises:
        UnknownChoiceError: there is none.
    """
    found: Control = _MEMBERS.get(name)
    return found
