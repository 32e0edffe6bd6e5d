"""What rounding the kept activations does to a gradient, measured before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor

from das.batch import PairBatch
from das.engine.tiers import Prepared
from das.interventions.sets import InterventionSet
from das.objectives.base import Objective, with_factors
from das.seeding import seeded
from das.training.loss import Runner, loss_of

log = logging.getLogger("das.training")

#: Above this, the log warns.
TOLERATED = 0.02


def rounding_error(
    ready: Prepared, batches: Iterable[PairBatch], interventions: InterventionSet, objective: Objective, seed: int
) -> float | None:
    """Norm of the difference that rounding makes to the gradient of the first batch's loss / norm of the gradient.

    None where the gradient is zero, as at the start of some methods.
    """
    batch = with_factors(objective, next(iter(batches)).to(ready.engine.view.device))
    exact = _gradient(ready.fresh(), batch, interventions, objective, seed)
    if not (size := float(exact.norm())):
        log.info("rounding of kept activations: the gradient is zero before the first step, so it was not measured")
        return None
    error = float((_gradient(ready, batch, interventions, objective, seed) - exact).norm()) / size
    level = logging.WARNING if error > TOLERATED else logging.INFO
    log.log(level, "rounding of kept activations changes the gradient of a batch by %.3f %%", 100 * error)
    return error


def _gradient(
    runner: Runner, batch: PairBatch, interventions: InterventionSet, objective: Objective, seed: int
) -> Tensor:
    """The gradient to all parameters of a copy, as one vector."""
    copy = deepcopy(interventions).train()
    with seeded(seed):
        loss, _ = loss_of(objective, runner, batch, copy, 0.0)
    learned = [p for p in copy.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss.total, learned, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(learned, found, strict=True)])
