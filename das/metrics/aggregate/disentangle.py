"""Cause, Isolate and Disentangle of RAVEL (arXiv 2402.17700).

    Cause(A)        accuracy against the source's value, on prompts that ask for attribute A
    Isolate(A)      accuracy against the base's own value, on prompts that ask for any other attribute
    Disentangle(A)  (Cause(A) + Isolate(A)) / 2

Prompt types (tasks) are averaged within an attribute first, then over attributes, so an attribute with many prompts
counts as much as one with few. Doing nothing scores (0, 1) and swapping everything (1, 0): both disentangle 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from das.errors import EmptySplitError, UnknownChoiceError


@dataclass(frozen=True)
class Disentangled:
    """Shares, 0 to 1."""

    cause: float
    isolate: float

    @property
    def disentangle(self) -> float:
        """Their mean."""
        return (self.cause + self.isolate) / 2


def disentangled(target: str, accuracies: Mapping[str, Mapping[str, float]]) -> Disentangled:
    """Scores of an intervention on one attribute.

    Args:
        target: the attribute that is intervened on.
        accuracies: attribute -> task -> accuracy, against the source's value for the target and against the base's own
            for all others.

    Raises:
        UnknownChoiceError: the target is not among the attributes.
        EmptySplitError: no other attribute, or an attribute without tasks.
    """
    if target not in accuracies:
        raise UnknownChoiceError("attribute", target, accuracies)
    if len(accuracies) < 2 or not all(accuracies.values()):
        raise EmptySplitError(
            "isolation needs another attribute, and every attribute a task",
            got={name: len(tasks) for name, tasks in accuracies.items()},
        )
    means = {name: sum(tasks.values()) / len(tasks) for name, tasks in accuracies.items()}
    others = [mean for name, mean in means.items() if name != target]
    return Disentangled(means[target], sum(others) / len(others))


def over_attributes(scores: Sequence[Disentangled]) -> Disentangled:
    """Mean over the attributes that were intervened on.

    Raises:
        EmptySplitError: none.
    """
    if not scores:
        raise EmptySplitError("there is no attribute to average over", got=0)
    n = len(scores)
    return Disentangled(sum(s.cause for s in scores) / n, sum(s.isolate for s in scores) / n)
