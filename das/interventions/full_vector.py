"""Full-vector swap: the whole activation is interchanged, the upper control of every subspace (vanilla patching).

Equation   h' = s
Nothing is learned. Where this does not flip the label, no subspace of the site can be blamed for failing.
"""

from __future__ import annotations

from das.edits.swap import Swap
from das.featurizers.identity import Identity
from das.interventions.base import Capabilities, Intervention


def full_vector(width: int) -> Intervention:
    """Swap every neuron of the site."""
    capabilities = Capabilities(steering=("clamp", "add"))
    return Intervention(Identity(width), Swap(), name="full_vector", capabilities=capabilities)
