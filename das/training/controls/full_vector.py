"""Full-vector swap: every neuron of the site exchanged, the ceiling of what any subspace there can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from das.edits.swap import Swap
from das.errors import CapabilityError
from das.featurizers.identity import Identity
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.training.controls.base import Subject


@final
@dataclass(frozen=True)
class FullVector:
    """The whole activation."""

    title = "full-vector swap"
    meaning = "the whole activation exchanged: what exchanging a part of it hardly beats"
    trained = False

    def make(self, subject: Subject) -> Sequence[InterventionSet | None]:
        """The same placements with all neurons."""
        entries = []
        for placement, x in zip(subject.learned.placements, subject.learned, strict=True):
            if len(x.edit.sources) != 1 or not x.edit.aligned:
                raise CapabilityError(
                    "the whole activation cannot come from several sources at once", got=str(x.edit.sources),
                    remedy="measure one variable at a time",
                )  # fmt: skip
            swap = Intervention(Identity(x.width), Swap(x.edit.sources[0]), steering={}, name="full_vector")
            entries.append((placement, swap))
        return [InterventionSet(entries).to(subject.problem.device)]


CONTROL = FullVector()
