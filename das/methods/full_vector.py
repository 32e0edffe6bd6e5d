"""Full-vector swap: the whole activation is interchanged, the upper control of every subspace (vanilla patching).

Equation   h' = s
Nothing is learned. Where this does not flip the label, no subspace of the site can be blamed for failing.
"""

from __future__ import annotations

from das.edits.add import Add
from das.edits.clamp import Clamp
from das.edits.swap import Swap
from das.featurizers.identity import Identity
from das.interventions.base import Intervention


def full_vector(width: int) -> Intervention:
    """Swap every neuron of the site."""
    steering = {"clamp": Clamp(width), "add": Add(width)}  # ablating all of it would leave nothing
    return Intervention(Identity(width), Swap(), steering=steering, name="full_vector")


METHOD = full_vector
