"""Context knob: one direction that decides between answering from the context and from memory (arXiv 2411.07404).

Equation   h' = h + u (u.s - u.h),  |u| = 1;  as a knob  h' = h + u (c - u.h)
           with a constant c: `value=`, +-5 to +-150 in the paper
Trained by `counterfactual_ce` at the last token, on pairs with the same query and opposite intents
Shapes     h (B, P, width), s (B, P or 1, width)
The interchange of `das` at rank 1, steered by clamping alone. The knob is `value=`; a factor clamps to multiples of the
concept's two means, as it does for `das`.
"""

from __future__ import annotations

from das.edits.clamp import Clamp
from das.edits.swap import Swap
from das.featurizers.rotation import Parametrization, Rotation
from das.interventions.base import Intervention


def context_knob(width: int, parametrization: Parametrization = "retract") -> Intervention:
    """A rank-1 interchange, clamped when it steers."""
    steering = {"clamp": Clamp(1)}
    return Intervention(Rotation(width, 1, parametrization), Swap(), steering=steering, name="context_knob")


METHOD = context_knob
