"""ActAdd: activation addition from one pair of prompts (arXiv 2308.10248).

Equation   h'_t = h_t + f coefficient (h+_t - h-_t)   at the first positions t, those that both prompts have
Fitted on  one contrast (the first); read and written at "prompt" or "fN"
Shapes     x (N, width) -> a difference per position (length, width)
Raises     EmptySplitError where no contrast has both sides, InputError where they share no position
Deviation  the authors pad the shorter prompt on the right; here the longer one is cut
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.edits.add_positions import AddPositions
from das.errors import EmptySplitError, InputError
from das.estimators.base import NEGATIVE, POSITIVE, Examples
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
        first = int(examples.pair.min())
        sides = []
        for label in (POSITIVE, NEGATIVE):
            here = (examples.pair == first) & (examples.label == label)
            if not bool(here.any()):
                raise EmptySplitError("the first contrast has only one side", got=f"no value {label}")
            prompt = examples.prompt[here].min()
            one = here & (examples.prompt == prompt)
            sides.append({int(t): x for t, x in zip(examples.position[one], examples.x[one].double(), strict=True)})
        shared = sorted(set(sides[0]) & set(sides[1]))
        if not shared:
            raise InputError("the two prompts share no position", got=f"{sorted(sides[0])} and {sorted(sides[1])}")
        start, length = shared[0], shared[-1] - shared[0] + 1
        value = torch.zeros(length, examples.width, dtype=torch.float64)
        for t in shared:
            value[t - start] = self.coefficient * (sides[0][t] - sides[1][t])
        edit = AddPositions(examples.width, length, start, value)
        return Intervention(Identity(examples.width), edit, steering={}, name="actadd")


METHOD = Actadd
