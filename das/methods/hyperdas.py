"""HyperDAS: a hypernetwork finds where a concept that is described in words lies, and swaps it (arXiv 2503.10894).

Equation   h'_j = h_j + R_c sum_i w_ji (R_c^T s_i - R_c^T h_j),  R_c = (I - 2 u u^T) R
           u and w made from the concept's description and the activations, `das.conditioners.hyper_alignment`
Trained by `counterfactual_ce` on pairs of several concepts with a source "concept": the label is the source's value
           where the prompt asks for that concept, and the base's own where it asks for another. Both sides at "prompt"
Steering   ablate, or clamp and add with `value=`, along R_c: das.steer(model, subspace, concept="...", op="ablate",
           positions=...); which token that is, the assignment only says of a base with a source
Shapes     h (B, P, width), s (B, S, width), w (B, P, S + 1), u (B, width), R (width, rank)
Raises     InputError unless 1 <= rank <= width; CapabilityError without a description
"""

from __future__ import annotations

from das.conditioners.hyper_alignment import HyperAlignment
from das.edits.assigned_swap import AssignedSwap
from das.featurizers.householder import Householder
from das.featurizers.rotation import Parametrization
from das.interventions.base import Intervention


def hyperdas(
    width: int,
    rank: int = 4,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    weight: float = 1.0,
    parametrization: Parametrization = "retract",
) -> Intervention:
    """An assigned interchange along a subspace of the concept's own."""
    made = HyperAlignment(width, hidden, layers, heads, weight=weight)
    return Intervention(Householder(width, rank, parametrization), AssignedSwap(), conditioner=made, name="hyperdas")


METHOD = hyperdas
