"""The training loop, which is Lightning's: what we set is listed in `TrainerSettings`, all else is its default."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar

from das.data.datamodule import PairDataModule
from das.data.dataset import PairDataset
from das.data.loader import PairLoader
from das.engine.disk import disk_cache
from das.engine.engine import Engine
from das.engine.store import Store
from das.engine.tiers import Prepared, Tier, prepare
from das.errors import EmptySplitError, InputError, UnknownChoiceError
from das.interventions.sets import InterventionSet
from das.objectives.base import Objective
from das.outputs import FrozenRun
from das.training.callbacks import Reports, ValidationLoss
from das.training.checkpoints import FOLDER, keep_newest, newest_checkpoint
from das.training.lightning import interruptible, quiet
from das.training.module import InterventionModule
from das.training.optim import Optimizer
from das.training.rounding import rounding_error

log = logging.getLogger("das.training")

#: Arguments of `pl.Trainer` that are ours to set.
_OWN = frozenset({
    "accelerator", "devices", "max_steps", "max_epochs", "accumulate_grad_batches", "gradient_clip_val", "logger",
    "callbacks", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "log_every_n_steps",
})  # fmt: skip


@dataclass(frozen=True)
class TrainerSettings:
    """How long and how to train.

    Attributes:
        max_steps: optimiser steps.
        batch_size: pairs per step; for contrast quadruples the number of quadruples (two rows each).
        accumulate: batches per optimiser step.
        devices: processes that share the rows of every step, each with batches of `batch_size`, where they were started
            together (`torchrun --nproc-per-node=N`); the model is in every process.
        tier: engine tier, or "auto".
        budget_gib: memory the engine may use for what it keeps of a dataset; beyond, it goes to files on disk.
        cache_dir: root of the folder of these files; None means $DAS_CACHE, or else the user's cache directory.
        cache_gib: most that all of these files take, what was not used longest is removed first; 0 for none.
        store: "bfloat16" rounds what is kept, "model" keeps the model's own dtype.
        val_every: steps between validation losses; 0 never.
        checkpoint_every: steps between checkpoints in the run folder.
        log_every: steps between log lines.
        progress: show a progress bar.
        extra: any further argument of `pl.Trainer`.
    """

    max_steps: int = 150
    batch_size: int = 32
    accumulate: int = 1
    devices: int = 1
    tier: Tier | Literal["auto"] = "auto"
    budget_gib: float = 4.0
    cache_dir: str | None = None
    cache_gib: float = 20.0
    store: Store = "model"
    val_every: int = 0
    checkpoint_every: int = 50
    log_every: int = 10
    progress: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(counts := (self.max_steps, self.batch_size, self.accumulate, self.devices)) < 1:
            names = "max_steps, batch_size, accumulate and devices"
            raise EmptySplitError(f"trainer.{names} must be at least 1", got=str(counts))
        for name in ("val_every", "checkpoint_every", "log_every", "budget_gib", "cache_gib"):
            if not getattr(self, name) >= 0:
                raise InputError(f"trainer.{name} must not be negative", got=getattr(self, name))
        free = set(inspect.signature(pl.Trainer).parameters) - _OWN
        for name in self.extra:
            if name not in free:
                raise UnknownChoiceError("argument of Lightning's Trainer in trainer.extra", name, free)


@dataclass(frozen=True)
class Trained:
    """What a training did.

    Attributes:
        steps: optimiser steps of the whole run.
        seconds: wall time, caches included; of the last part only where the run was resumed.
        tier, tier_reason: how the engine ran, and why; None where nothing was trained.
        resumed: whether it continued an interrupted run.
        store_grad_rel_err: what rounding of kept activations does to a gradient (`das.training.rounding`), if rounded.
    """

    steps: int
    seconds: float
    tier: str | None = None
    tier_reason: str | None = None
    resumed: bool = False
    store_grad_rel_err: float | None = None


def prepared(
    engine: Engine,
    data: PairDataset,
    settings: TrainerSettings,
    runs: frozenset[FrozenRun] = frozenset(),
    progress: bool = False,
) -> Prepared:
    """The engine prepared on a dataset, within the settings' tier and budgets."""
    return prepare(
        engine, data, runs=runs, tier=settings.tier, budget_bytes=int(settings.budget_gib * (1 << 30)),
        store=settings.store, cache=disk_cache(settings.cache_dir, settings.cache_gib), progress=progress,
    )  # fmt: skip


def train(
    interventions: InterventionSet,
    engine: Engine,
    data: PairDataset,
    objective: Objective,
    optimizer: Optimizer,
    settings: TrainerSettings,
    *,
    seed: int,
    validation: PairDataset | None = None,
    logger: Any = False,
    run_dir: Path | None = None,
    callbacks: Sequence[Callback] = (),
    ready: Prepared | None = None,
) -> Trained:
    """Train in place. With a `run_dir`, checkpoints go there and an interrupted run goes on where it stopped.

    What the engine keeps of the data is collected here unless it is given as `ready`.

    Raises:
        NonFiniteLossError: loss or gradient is not finite; parameters keep their last good values.
    """
    began = time.perf_counter()
    ready = ready or prepared(engine, data, settings, objective.needs.runs, settings.progress)
    watching = list(callbacks)
    if validation is not None and settings.val_every:
        on_val = prepared(engine, validation, settings, objective.needs.runs)
        watching.append(ValidationLoss(on_val, validation, interventions, objective, settings.val_every))
    watching.append(Reports())
    module = InterventionModule(interventions.train(), ready, objective, optimizer, seed)
    loader = PairLoader(data, settings.batch_size, seed)
    first = PairLoader(data, settings.batch_size, seed)
    rounding = rounding_error(ready, first, interventions, objective, seed) if ready.rounded else None
    with quiet(), interruptible():
        needed = settings.max_steps * settings.accumulate * settings.devices // len(loader)
        epochs = needed + 2  # never reached: max_steps ends the run
        trainer = trainer_of(engine.view.device, settings, optimizer.clip or None, logger, run_dir, watching, epochs)
        resumed = newest_checkpoint(run_dir)
        where = "" if resumed is None else f", going on from {resumed.name}"
        name = type(objective).__module__.rsplit(".", 1)[-1]
        told = (settings.max_steps, settings.batch_size, name, where)
        log.info("training: %d steps, batches of %d, objective %s%s", *told)
        trainer.fit(module, datamodule=PairDataModule(loader), ckpt_path=resumed, weights_only=False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    keep_newest(run_dir)
    interventions.eval()
    seconds = time.perf_counter() - began
    return Trained(trainer.global_step, seconds, ready.tier, ready.reason, resumed is not None, rounding)


def trainer_of(
    device: torch.device,
    settings: TrainerSettings,
    clip: float | None,
    logger: Any,
    run_dir: Path | None,
    callbacks: Sequence[Callback],
    epochs: int,
) -> pl.Trainer:
    """Lightning's trainer as the settings ask for it.

    Args:
        device: the model's.
        settings: length, logging, checkpoints.
        clip: largest gradient norm; None where nothing is clipped, or not by the trainer.
        logger, callbacks: Lightning's.
        run_dir: where checkpoints go, if anywhere.
        epochs: most passes over the data.
    """
    own: list[Callback] = list(callbacks)
    if settings.progress:
        own.append(RichProgressBar(leave=False))
    if run_dir is not None:
        every = settings.checkpoint_every
        own.append(ModelCheckpoint(run_dir / FOLDER, "{step}", every_n_train_steps=every, save_top_k=1))
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=settings.devices,
        max_steps=settings.max_steps,
        max_epochs=epochs,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=clip,
        logger=logger,
        callbacks=own,
        enable_checkpointing=run_dir is not None,
        enable_progress_bar=settings.progress,
        enable_model_summary=False,
        log_every_n_steps=settings.log_every,
        **dict(settings.extra),
    )
