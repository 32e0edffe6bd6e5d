"""Multi-source DAS: disjoint orthogonal subspaces, each taken from a source of its own (arXiv 2301.04709, 2303.02536).

Equation   h' = (I - sum_i R_i R_i^T) h + sum_i R_i R_i^T s_i,   [R_1 ... R_k] orthonormal, R_i of `sizes[i]` columns
Trained by `counterfactual_ce` on pairs with these sources; the label is the causal model's with all variables set
A source that equals the base leaves its variable alone, exactly, so one dataset may set any subset of them.
Shapes     h (B, P, width), s_i (B, P or 1, width)
Raises     InputError for sizes that do not fit the width; CapabilityError where a source is missing
"""

from __future__ import annotations

from collections.abc import Sequence

from das.edits.swap_blocks import SwapBlocks
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def multi_source_das(
    width: int,
    sources: Sequence[str] = ("first", "second"),
    sizes: Sequence[int] = (1, 1),
    parametrization: Parametrization = "retract",
) -> Intervention:
    """One block of coordinates per source."""
    rank = sum(sizes)
    edit = SwapBlocks(rank, sources, sizes)
    return Intervention(Rotation(width, rank, parametrization), edit, name="multi_source_das")


METHOD = multi_source_das
