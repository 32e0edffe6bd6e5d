"""The training loop, which is Lightning's: what we set is listed in `TrainerSettings`, all else is its default."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar

from das.data.datamodule import PairDataModule
from das.data.dataset import PairDataset
from das.data.loader import PairLoader
from das.engine.engine import Engine
from das.engine.tiers import Prepared, Tier, prepare
from das.errors import EmptySplitError
from das.interventions.sets import InterventionSet
from das.objectives.base import Objective
from das.outputs import FrozenRun
from das.training.callbacks import ValidationLoss
from das.training.module import InterventionModule
from das.training.optim import Optimizer


@dataclass(frozen=True)
class TrainerSettings:
    """How long and how to train.

    Attributes:
        max_steps: optimiser steps.
        batch_size: pairs per step; for contrast quadruples the number of quadruples (two rows each).
        accumulate: batches per optimiser step.
        tier: engine tier, or "auto".
        budget_gib: memory the engine may use for its caches under "auto".
        val_every: steps between validation losses; 0 never.
        checkpoint_every: steps between checkpoints in the run folder.
        log_every: steps between log lines.
        progress: show a progress bar.
        extra: any further argument of `pl.Trainer`.
    """

    max_steps: int = 150
    batch_size: int = 32
    accumulate: int = 1
    tier: Tier | Literal["auto"] = "auto"
    budget_gib: float = 4.0
    val_every: int = 0
    checkpoint_every: int = 50
    log_every: int = 10
    progress: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_steps < 1 or self.batch_size < 1 or self.accumulate < 1:
            got = f"max_steps {self.max_steps}, batch_size {self.batch_size}, accumulate {self.accumulate}"
            raise EmptySplitError("trainer.max_steps, batch_size and accumulate must be at least 1", got=got)


@dataclass(frozen=True)
class Trained:
    """What a training did.

    Attributes:
        steps: optimiser steps of the whole run.
        seconds: wall time, caches included; of the last part only where the run was resumed.
        tier, tier_reason: how the engine ran, and why; None where nothing was trained.
        resumed: whether it continued an interrupted run.
    """

    steps: int
    seconds: float
    tier: str | None = None
    tier_reason: str | None = None
    resumed: bool = False


def prepared(
    engine: Engine,
    data: PairDataset,
    settings: TrainerSettings,
    runs: frozenset[FrozenRun] = frozenset(),
    progress: bool = False,
) -> Prepared:
    """The engine prepared on a dataset, within the settings' tier and budget."""
    budget = int(settings.budget_gib * (1 << 30))
    return prepare(engine, data, runs=runs, tier=settings.tier, budget_bytes=budget, progress=progress)


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
) -> Trained:
    """Train in place. With a `run_dir`, checkpoints go there and an interrupted run goes on where it stopped.

    Raises:
        NonFiniteLossError: loss or gradient is not finite; parameters keep their last good values.
    """
    began = time.perf_counter()
    ready = prepared(engine, data, settings, objective.needs.runs, settings.progress)
    watching = list(callbacks)
    if validation is not None and settings.val_every:
        on_val = prepared(engine, validation, settings, objective.needs.runs)
        watching.append(ValidationLoss(on_val, validation, interventions, objective, settings.val_every))
    module = InterventionModule(interventions.train(), ready, objective, optimizer, seed)
    loader = PairLoader(data, settings.batch_size, seed)
    with _quiet():
        epochs = settings.max_steps * settings.accumulate // len(loader) + 2  # never reached: max_steps ends the run
        trainer = _trainer(engine, settings, optimizer, logger, run_dir, watching, epochs)
        resumed = newest_checkpoint(run_dir)
        trainer.fit(module, datamodule=PairDataModule(loader), ckpt_path=resumed, weights_only=False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    interventions.eval()
    seconds = time.perf_counter() - began
    return Trained(trainer.global_step, seconds, ready.tier, ready.reason, resumed is not None)


def newest_checkpoint(run_dir: Path | None) -> Path | None:
    """The checkpoint to resume from, if there is one."""
    if run_dir is None:
        return None
    found = sorted((run_dir / "checkpoints").glob("*.ckpt"), key=lambda p: p.stat().st_mtime)
    return found[-1] if found else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and a deprecation inside Lightning itself from the user; not its warnings."""
    chatter = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = chatter.level
    chatter.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", UserWarning)
            warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`", UserWarning)
            yield
    finally:
        chatter.setLevel(level)


def _trainer(
    engine: Engine,
    settings: TrainerSettings,
    optimizer: Optimizer,
    logger: Any,
    run_dir: Path | None,
    callbacks: Sequence[Callback],
    epochs: int,
) -> pl.Trainer:
    device = engine.view.device
    own: list[Callback] = list(callbacks)
    if settings.progress:
        own.append(RichProgressBar(leave=False))
    if run_dir is not None:
        folder = run_dir / "checkpoints"
        own.append(ModelCheckpoint(folder, "{step}", every_n_train_steps=settings.checkpoint_every, save_top_k=1))
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=1,
        max_steps=settings.max_steps,
        max_epochs=epochs,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=optimizer.clip or None,
        logger=logger,
        callbacks=own,
        enable_checkpointing=run_dir is not None,
        enable_progress_bar=settings.progress,
        enable_model_summary=False,
        log_every_n_steps=settings.log_every,
        **dict(settings.extra),
    )
