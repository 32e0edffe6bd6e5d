"""A temperature that falls during training: soft masks early, hard ones late.

Equation   T = start + (end - start) progress   ("linear"),   T = start (end / start)^progress   ("geometric")
Raises     UnknownChoiceError, InputError for temperatures that are not positive
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from das.errors import InputError, UnknownChoiceError

Curve = Literal["linear", "geometric"]


@dataclass(frozen=True)
class Temperature:
    """From `start` at the first step to `end` at the last."""

    start: float
    end: float
    curve: Curve = "linear"

    def __post_init__(self) -> None:
        if self.curve not in ("linear", "geometric"):
            raise UnknownChoiceError("temperature curve", self.curve, ("linear", "geometric"))
        if not (self.start > 0 and self.end > 0):
            raise InputError("temperatures must be positive", got=f"{self.start} to {self.end}")

    def at(self, progress: float) -> float:
        """Temperature at a share of training in [0, 1]."""
        if self.curve == "linear":
            return self.start + (self.end - self.start) * progress
        return float(self.start * (self.end / self.start) ** progress)
