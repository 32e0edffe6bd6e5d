"""HyperSteer: a hypernetwork writes the steering vector of a concept that is described in words (arXiv 2506.03292).

Equation   h' = h + f v(x, c),  v made from the description c and the prompt x;  f = 0 nulls v out, as `reps_vector`
Trained by `lm_loss` on responses of several concepts, or `reps` on preferences, at "all" positions; the pairs need a
           source "concept"
Steering   das.steer(model, subspace, f, concept="..."): also for concepts that were not trained
Shapes     h (B, P, width), v (B, width), f (B,)
Raises     CapabilityError without a description
Deviation  the frozen model reads the description, and blocks of the hypernetwork start from random weights; the authors
           start from a copy of the model
"""

from __future__ import annotations

from das.conditioners.hyper_vector import HyperVector
from das.edits.add_or_null import AddOrNull
from das.featurizers.row_vector import RowVector
from das.interventions.base import Intervention


def hypersteer(width: int, hidden: int = 64, layers: int = 2, heads: int = 4, attends: bool = True) -> Intervention:
    """A vector per row; it steers as it was trained."""
    made = HyperVector(width, hidden, layers, heads, attends)
    return Intervention(
        RowVector(width), AddOrNull(), conditioner=made, steering={}, trained_by="lm_loss", name="hypersteer"
    )


METHOD = hypersteer
