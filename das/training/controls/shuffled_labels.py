"""Shuffled labels: the same method made on data in which every label belongs to another pair.

Each pair gets the label (for distribution matching: the run to be matched) of another one, so that neither the base nor
what is read tells what must follow; measured on the true pairs. Closed-form methods see shuffled concept values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from das.interventions.sets import InterventionSet
from das.training.controls.base import Subject
from das.training.interchange import interchange_of
from das.training.learn import learn


@final
@dataclass(frozen=True)
class ShuffledLabels:
    """Labels that cannot be predicted; they still reward moving along the direction that decides, so no zero."""

    title = "shuffled labels"
    meaning = "the same training with the answers dealt out at random"
    trained = True

    def make(self, subject: Subject) -> Sequence[InterventionSet | None]:
        """Learned again on shuffled labels."""
        return [interchange_of(learn(subject.problem, subject.again(), shuffled=True, quiet=True).interventions)]


CONTROL = ShuffledLabels()
