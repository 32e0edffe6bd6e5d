"""The LightningModule. It owns the interventions and nothing else: the frozen model lives in the engine, which is held
outside of torch's module tree, so checkpoints stay small and Lightning never moves, saves or trains the model.
"""

from __future__ import annotations

from typing import Any, final

import pytorch_lightning as pl
import torch

from das.batch import PairBatch
from das.errors import NonFiniteLossError
from das.interventions.sets import InterventionSet
from das.objectives.base import Objective, with_factors
from das.seeding import seeded
from das.training.loss import Runner, loss_of
from das.training.optim import Optimizer


@final
class InterventionModule(pl.LightningModule):
    """Trains an intervention set under an objective, plus the penalties that its parts report.

    What a step minimises is the mean over everything the objective counts in all batches of the step, also when
    batches are accumulated. Randomness inside a part is a function of (seed, step).

    Args:
        interventions: what is learned.
        train: runs them, usually an engine prepared on the training data.
        objective: what is minimised.
        optimizer: how.
        seed: of whatever is random inside the interventions.

    Raises:
        NonFiniteLossError: loss or gradient is NaN or infinite; the step is not taken, so parameters stay at their last
            good values.
    """

    def __init__(
        self,
        interventions: InterventionSet,
        train: Runner,
        objective: Objective,
        optimizer: Optimizer,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.interventions = interventions
        self._train, self._seed, self._counted = train, seed, 0
        self.objective, self.optimizer_spec = objective, optimizer

    @property
    def progress(self) -> float:
        """Share of the optimiser steps taken; below 1 in every step."""
        return min(1.0, self.global_step / max(1, self.total_steps))

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return int(self.trainer.estimated_stepping_batches)

    def training_step(self, batch: PairBatch, batch_idx: int) -> torch.Tensor:
        """Loss of one batch, summed over what it counts; `on_before_optimizer_step` makes means of it."""
        batch = with_factors(self.objective, batch)
        with seeded(seed_of_step(self._seed, self.global_step, batch_idx)):
            loss, outputs = loss_of(self.objective, self._train, batch, self.interventions, self.progress)
        penalties = outputs.penalties(self.interventions.order)
        total = sum(penalties.values(), start=loss.total)
        refuse_non_finite(total, "loss", self.global_step)
        for name, value in loss.parts.items():
            self.log(f"train/{name}", value, batch_size=loss.count)
        for name, value in penalties.items():
            self.log(f"train/penalty/{name}", value.detach(), batch_size=loss.count)
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=loss.count)
        self._counted += loss.count
        return total * loss.count

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide by what was counted; refuse a broken gradient; keep the rest tangent to the manifold (then clip)."""
        counted = self.trainer.strategy.reduce(torch.tensor(float(self._counted)), reduce_op="sum")
        share = self.trainer.accumulate_grad_batches * self.trainer.world_size / max(1.0, float(counted))
        self._counted = 0
        finish_gradient(self.interventions, share, self.global_step)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then return to the manifold."""
        super().optimizer_step(*args, **kwargs)
        self.interventions.retract()

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser and its per-step schedule."""
        optimizer, schedule = self.optimizer_spec.build(self.interventions, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def seed_of_step(seed: int, step: int, batch_idx: int) -> int:
    """Where a step's random numbers start."""
    return seed * 1_000_003 + step * 1_009 + batch_idx


def finish_gradient(interventions: InterventionSet, share: float, step: int) -> None:
    """Times `share`, which makes means of sums; refused if broken; only what is tangent to the manifold is kept.

    Raises:
        NonFiniteLossError: a gradient is NaN or infinite.
    """
    for name, parameter in interventions.named_parameters():
        if parameter.grad is not None:
            parameter.grad.mul_(share)
            refuse_non_finite(parameter.grad, f"gradient of {name}", step)
    interventions.project_gradient()


def refuse_non_finite(value: torch.Tensor, what: str, step: int) -> None:
    """Stop before a broken value reaches the parameters.

    Raises:
        NonFiniteLossError: it is NaN or infinite.
    """
    if not bool(torch.isfinite(value).all()):
        raise NonFiniteLossError(
            f"the {what} is not finite at step {step}",
            got=str(value.detach().item()) if value.numel() == 1 else "NaN or infinity",
            remedy="lower optimizer.lr, or load the model in float32 or bfloat16; the last good state was kept",
        )
