"""What a logger gets besides the training curves. wandb is recognised by its class's name and never imported."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from das.cli import build
from das.cli.config import Config
from das.cli.steering import Samples

_COLUMNS = ["prompt", "factor", "unsteered", "steered"]
_ROWS = 32


def start(cfg: Config, config: Mapping[str, Any]) -> Any:
    """The logger of a composed configuration, which it is given as plain data; False for none."""
    if (config.get("logger") or {}).get("offline"):
        os.environ.setdefault("WANDB_SILENT", "true")  # read when wandb is imported
    logger = build.logger(cfg)
    if logger:
        logger.log_hyperparams(dict(config))
    return logger


def record(logger: Any, metrics: Mapping[str, Any], subspace: Path, samples: Samples) -> None:
    """All final numbers; for wandb the subspace as an artifact and a table of steered samples too."""
    if not logger:
        return
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float) and math.isfinite(v)}
    logger.log_metrics(numbers, step=int(metrics.get("train/steps") or 0))
    logger.save()
    if is_wandb(logger):
        run = logger.experiment
        run.log_artifact(str(subspace), name=f"subspace-{run.id}", type="subspace")
        rows = [[s.prompt, s.factor, s.unsteered, s.steered] for s in list(samples)[:_ROWS]]
        if rows:
            logger.log_table("samples", columns=_COLUMNS, data=rows)


def finish(logger: Any, ok: bool) -> None:
    """End the logger's run: jobs of a multirun share a process."""
    if not logger:
        return
    if is_wandb(logger):
        logger.experiment.finish(exit_code=0 if ok else 1)
    else:
        logger.save()


def is_wandb(logger: Any) -> bool:
    """Whether this is Lightning's WandbLogger, or a subclass of it."""
    return any(c.__name__ == "WandbLogger" for c in type(logger).__mro__)
