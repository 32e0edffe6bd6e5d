"""One optimiser step of a training loop of one's own."""

from __future__ import annotations

import torch

from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet


def step(interventions: Intervention | InterventionSet, optimizer: torch.optim.Optimizer) -> None:
    """Keep the gradients' tangent part, step, return the parameters to their manifold, forget the gradients.

    Call it after `loss.backward()`; the forward before that takes `Context(progress=step / steps)`.

    Args:
        interventions: whose gradients were computed.
        optimizer: of their parameters (`das.AdamW().build(interventions, steps)` makes one, with the schedule).
    """
    interventions.project_gradient()
    optimizer.step()
    interventions.retract()
    optimizer.zero_grad(set_to_none=True)
