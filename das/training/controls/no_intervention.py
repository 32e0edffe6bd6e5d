"""No intervention: the unmodified model, against the counterfactual labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from das.interventions.sets import InterventionSet
from das.training.controls.base import Subject


@final
@dataclass(frozen=True)
class NoIntervention:
    """The model as it is."""

    title = "no intervention"
    meaning = "the model as it is: no answer changes"
    trained = False

    def make(self, subject: Subject) -> Sequence[InterventionSet | None]:
        """Nothing."""
        return [None]


CONTROL = NoIntervention()
