"""ActAdd: activation addition from one pair of prompts (arXiv 2308.10248).

Equation   h'_t = h_t + f coefficient (h+_t - h-_t)   at the first positions t, those that both prompts have
Fitted on  one contrast (the first with both sides); read and written at "prompt" or "fN"
Shapes     x (N, width) -> a difference per position (length, width)
Raises     EmptySplitError where no contrast has both sides, InputError where they share no
           position or are equal at all of them
Deviation  the authors pad the shorter prompt on the right; here the longer one is cut
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.edits.add_positions import AddPositions
from das.errors import EmptySplitError, InputError
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.estimators.rounding import unit
from das.featurizers.identity import Identity
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Actadd:
    """The difference of two prompts, position by position.

    Attributes:
        coefficient: what a factor of one multiplies it with.
    """

    coefficient: float = 1.0

    def fit(self, examples: Examples) -> Intervention:
        """Added at the positions where it was read."""
        whole = set.intersection(*({*examples.pair[examples.label == v].tolist()} for v in (POSITIVE, NEGATIVE)))
        if not whole:
            raise EmptySplitError("no contrast has both of its sides", got=f"values {examples.classes}")
        sides = []
        for label in (POSITIVE, NEGATIVE):
            here = (examples.pair == min(whole)) & (examples.label == label)
            prompt = examples.prompt[here].min()
            one = here & (examples.prompt == prompt)
            sides.append({int(t): x for t, x in zip(examples.position[one], examples.x[one].double(), strict=True)})
        shared = sorted(set(sides[0]) & set(sides[1]))
        if not shared:
            raise InputError("the two prompts share no position", got=f"{sorted(sides[0])} and {sorted(sides[1])}")
        start, length = shared[0], shared[-1] - shared[0] + 1
        value = torch.zeros(length, examples.width, dtype=torch.float64)
        for t in shared:
            value[t - start] = sides[0][t] - sides[1][t]
        unit(value.flatten(), "the difference of the two prompts", examples.size)
        edit = AddPositions(examples.width, length, start, self.coefficient * value)
        return Intervention(Identity(examples.width), edit, steering={}, name="actadd")


METHOD = Actadd
