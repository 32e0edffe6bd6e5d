"""Any subspace as an interchange: how closed-form directions and source-free methods are measured beside DAS.

CausalGym (arXiv 2402.12560) does it to every method: whatever an intervention was trained to do, its coordinates can be
swapped between two prompts, and the causal model says what must follow.
"""

from __future__ import annotations

from das.edits.swap import Swap
from das.errors import CapabilityError
from das.featurizers.base import Spanning
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet, Placement
from das.types import SOURCE


def interchange_of(interventions: InterventionSet) -> InterventionSet:
    """The set itself where it has sources; else its subspaces with a swap, read where their sites say.

    Raises:
        CapabilityError: an intervention has neither sources nor a subspace that is smaller than the activation.
    """
    if all(x.edit.sources for x in interventions):
        return interventions
    swapped: dict[int, Intervention] = {}
    entries: list[tuple[Placement, Intervention]] = []
    for placement, x in zip(interventions.placements, interventions, strict=True):
        if x.edit.sources:
            entries.append((placement, x))
            continue
        if x.conditioner is not None or not isinstance(x.featurizer, Spanning) or x.dimension >= x.width:
            raise CapabilityError(
                f"the coordinates of {x.name!r} cannot be interchanged",
                got="no fixed subspace smaller than the activation",
                remedy="measure what it does with the steering metrics instead",
            )  # fmt: skip
        made = swapped.setdefault(id(x), x.with_edit(Swap()))
        entries.append((Placement(placement.write, {SOURCE: placement.write.read(SOURCE)}), made))
    return InterventionSet(entries)
