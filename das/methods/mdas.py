"""MDAS: multi-task DAS, disjoint subspaces that each cause one attribute and leave the others alone (arXiv 2402.17700).

Equation   h' = (I - R_a R_a^T) h + R_a R_a^T s for the attribute a a pair is about,  [R_1 ... R_k] orthonormal
Trained by `cause_isolate` on pairs with a source per attribute, all but one of them the base itself, which leaves their
           attribute alone. Cause: the prompt asks for a, whose label must become the source's (the label changes).
           Isolate: it asks for another attribute, whose label must stay.
Steering   coordinates of all attributes clamped to a concept's mean
Shapes     h (B, P, width), s (B, P or 1, width); R_a (width, sizes[a])
Raises     InputError for sizes that do not fit the width; CapabilityError where a source is missing
"""

from __future__ import annotations

from collections.abc import Sequence

from das.edits.swap_blocks import SwapBlocks
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def mdas(
    width: int,
    attributes: Sequence[str] = ("first", "second"),
    sizes: Sequence[int] = (1, 1),
    parametrization: Parametrization = "retract",
) -> Intervention:
    """One block of coordinates per attribute, named as its source."""
    rank = sum(sizes)
    edit = SwapBlocks(rank, attributes, sizes)
    return Intervention(Rotation(width, rank, parametrization), edit, trained_by="cause_isolate", name="mdas")


METHOD = mdas
