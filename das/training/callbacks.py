"""Lightning callbacks of ours."""

from __future__ import annotations

import logging
import time
from typing import final

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from das.data.dataset import PairDataset
from das.engine.tiers import Prepared
from das.interventions.sets import InterventionSet
from das.objectives.base import Objective, with_factors
from das.training.evaluate import batches, evaluating
from das.training.loss import loss_of

log = logging.getLogger("das.training")


@final
class ValidationLoss(Callback):
    """Logs the objective on validation pairs as `val/loss`, every so many optimiser steps and after the last one.

    Args:
        prepared: the engine prepared on the validation data.
        data: validation pairs.
        interventions: what is being trained.
        objective: what is being minimised.
        every: optimiser steps between measurements.
        batch_size: rows per forward.
    """

    def __init__(
        self,
        prepared: Prepared,
        data: PairDataset,
        interventions: InterventionSet,
        objective: Objective,
        every: int,
        batch_size: int = 64,
    ) -> None:
        self.prepared, self.data, self.interventions = prepared, data, interventions
        self.objective, self.every, self.batch_size = objective, every, batch_size
        self._last = -1

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Measure when due."""
        step = trainer.global_step
        if step == self._last or (step % self.every and step != trainer.max_steps):
            return
        self._last = step
        total, count = 0.0, 0
        with evaluating(self.interventions):
            for batch in batches(self.data, self.batch_size, self.prepared.engine):
                batch = with_factors(self.objective, batch)
                loss, _reported = loss_of(self.objective, self.prepared, batch, self.interventions)
                total, count = total + float(loss.total) * loss.count, count + loss.count
        pl_module.log("val/loss", total / max(count, 1), prog_bar=True)


@final
class Reports(Callback):
    """Writes step and loss into the log every so many seconds, for those who see no progress bar.

    Args:
        seconds: between two lines, at the speed of the steps.
    """

    def __init__(self, seconds: float = 15.0) -> None:
        self.seconds, self._last = seconds, time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from here."""
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """One line when due."""
        if time.monotonic() - self._last < self.seconds:
            return
        self._last = time.monotonic()
        loss = trainer.callback_metrics.get("train/loss")
        told = "" if loss is None else f", loss {float(loss):.4f}"
        log.info("step %d of %d%s", trainer.global_step, trainer.max_steps, told)
