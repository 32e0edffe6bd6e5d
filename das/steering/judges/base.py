"""The interface of a judge: generations in, three scores each (AxBench, arXiv 2501.17148).

    concept     is the concept in the text?         0 no, 1 somewhat, 2 clearly
    instruct    does it answer the prompt?          the same
    fluency     is it language?                     the same

Their harmonic mean is the score that is reported (`das.metrics.aggregate.steering_score`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

from das.data.encode import Encoder
from das.metrics.aggregate.steering_score import HIGHEST, steering_score


@dataclass(frozen=True)
class Generation:
    """What a judge is shown: a prompt, the text that continues it, and the concept that it was steered to."""

    prompt: str
    text: str
    concept: str


@dataclass(frozen=True)
class Scores:
    """Each 0, 1 or 2."""

    concept: int
    instruct: int
    fluency: int

    @property
    def overall(self) -> float:
        """Harmonic mean, 0 if any is 0."""
        return steering_score(self.concept, self.instruct, self.fluency)

    @property
    def suppressed(self) -> float:
        """The same where the concept's absence is wanted."""
        return steering_score(HIGHEST - self.concept, self.instruct, self.fluency)


@runtime_checkable
class Judge(Protocol):
    """A callable object."""

    def __call__(self, generations: Sequence[Generation]) -> list[Scores]:
        """Scores in the same order."""
        ...


@runtime_checkable
class ReadsModel(Protocol):
    """A judge to be that needs the model, not steered, to read with."""

    def reading(self, model: nn.Module, encoder: Encoder) -> Judge:
        """The judge."""
        ...


def graded(value: float | int, low: float | int, high: float | int) -> int:
    """2 from `high` on, 1 from `low` on, else 0."""
    return int(value >= low) + int(value >= high)
