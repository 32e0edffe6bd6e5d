"""Training on a runner of one's own: any frozen model, any batches, the same LightningModule as `fit` uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytorch_lightning as pl

from das.batch import PairBatch
from das.interventions.sets import InterventionSet
from das.objectives.base import Objective
from das.training.lightning import interruptible, quiet
from das.training.loss import Runner
from das.training.module import InterventionModule
from das.training.optim import AdamW, Optimizer


@dataclass(frozen=True)
class _Steps:
    """As many batches as there are steps, made when they are asked for."""

    batch: Callable[[int], PairBatch]
    steps: int

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[PairBatch]:
        return map(self.batch, range(self.steps))


def train_on(
    runner: Runner,
    interventions: InterventionSet,
    objective: Objective,
    batch: Callable[[int], PairBatch],
    steps: int,
    *,
    optimizer: Optimizer | None = None,
    seed: int = 0,
) -> InterventionSet:
    """Train in place, on the CPU, one batch per optimiser step; returned frozen.

    Args:
        runner: runs interventions on a batch.
        interventions: what is learned.
        objective: what is minimised.
        batch: number of a step, from 0 -> its batch.
        steps: how many.
        optimizer: AdamW with its defaults otherwise.
        seed: of whatever is random inside the interventions.

    Raises:
        NonFiniteLossError: parameters keep their last good values.
    """
    optimizer = AdamW() if optimizer is None else optimizer
    module = InterventionModule(interventions.train(), runner, objective, optimizer, seed)
    with quiet(), interruptible():
        trainer = pl.Trainer(
            max_steps=steps, max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=optimizer.clip or None,
        )  # fmt: skip
        trainer.fit(module, train_dataloaders=_Steps(batch, steps))
    return interventions.requires_grad_(False).eval()
