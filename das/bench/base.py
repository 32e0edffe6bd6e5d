"""What a benchmark is, and how benchmarks are found: module NAME defines a `BENCH`, and NAME is the benchmark's name.

A benchmark is run once per seed (of everything that is drawn or trained around the model it is about) and says what
came out as gates: a number, and the bar that it must hold. A number without a bar is only reported.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from das.errors import InputError
from das.members import Members

_HOLDS: dict[str, Callable[[Any, Any], bool]] = {"==": operator.eq, ">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Gate:
    """A number and the bar it must hold.

    Attributes:
        name: what was measured, and where.
        value: the number.
        bar: comparisons that must all hold, e.g. ">= 0.98" or ">= 0.45, <= 0.55"; "" reports the number only.

    Raises:
        InputError: a bar that is no comparison.
    """

    name: str
    value: float
    bar: str = ""

    def __post_init__(self) -> None:
        _ = self.held

    @property
    def held(self) -> bool | None:
        """Whether the value holds the bar, which NaN never does; None without a bar."""
        return all(_holds(self.value, part) for part in self.bar.split(",")) if self.bar else None


@runtime_checkable
class Bench(Protocol):
    """A benchmark.

    Attributes:
        title: one line for people.
    """

    @property
    def title(self) -> str: ...  # noqa: D102

    def run(self, seed: int) -> list[Gate]:
        """Gates under names that do not depend on the seed."""
        ...


_MEMBERS = Members(__package__ or "", "BENCH", "benchmark")


def names() -> tuple[str, ...]:
    """All benchmarks; finding them imports none."""
    return _MEMBERS.names()


def bench(name: str) -> Bench:
    """The benchmark of that name.

    Raises:
        UnknownChoiceError: there is none.
    """
    found: Bench = _MEMBERS.get(name)
    return found


def _holds(value: float, bar: str) -> bool:
    sign, _, number = bar.strip().partition(" ")
    try:
        return _HOLDS[sign](value, float(number))
    except (KeyError, ValueError) as error:
        raise InputError("this is no bar", got=bar, remedy='write ">= 0.98", "<= 0.05" or "== 0"') from error
