"""Which of two cells is better: every metric says which end of its range is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from das.errors import ConfigError, UnknownChoiceError
from das.metrics.base import Metric

_SPLITS = ("", "_changed", "_unchanged")


@dataclass(frozen=True)
class Choice:
    """A reported number by which cells are compared.

    Attributes:
        name: a metric's, or that with "_changed" or "_unchanged".
        best, worst: ends of its range; the better one may be the smaller.
    """

    name: str
    best: float
    worst: float

    @property
    def value(self) -> Callable[[Mapping[str, Any]], float]:
        """A key for `max`: larger is better; what was not measured, or is NaN, comes last."""

        def key(row: Mapping[str, Any]) -> float:
            found = row.get(self.name)
            if found is None or math.isnan(found):
                return -math.inf
            return float(found if self.best > self.worst else -found)

        return key


def choice(name: str, metrics: Mapping[str, Metric]) -> Choice:
    """The number of that name.

    Raises:
        UnknownChoiceError: none of the metrics reports it.
    """
    known = {f"{metric}{split}": made for metric, made in metrics.items() for split in _SPLITS}
    if name not in known:
        raise UnknownChoiceError("metric to select by", name, known)
    return Choice(name, known[name].best, known[name].worst)


def best_of(rows: Sequence[Mapping[str, Any]], by: Choice) -> Any:
    """The best row; ties go to the smaller dimension, then to the first.

    Raises:
        ConfigError: no row has a number to compare.
    """
    if all(by.value(row) == -math.inf for row in rows):
        raise ConfigError(
            "no cell reports the metric to select by", got=by.name, remedy="select by a metric of the validation pairs"
        )
    return max(rows, key=lambda row: (by.value(row), -row["dimension"]))
