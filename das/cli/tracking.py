"""What a logger gets besides the training curves. wandb is recognised by its class's name and never imported."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from das.cli import build
from das.cli.config import Config
from das.cli.program import program
from das.cli.steering import Samples
from das.cli.terminal import near
from das.errors import ConfigError, DasError

_COLUMNS = ["prompt", "factor", "unsteered", "steered"]
_ROWS = 32


def start(cfg: Config, config: Mapping[str, Any]) -> Any:
    """The logger of a composed configuration, which it is given as plain data; False for none.

    Raises:
        ConfigError: it cannot be started, for example because it needs an account.
    """
    if (config.get("logger") or {}).get("offline"):
        os.environ.setdefault("WANDB_SILENT", "true")  # read when wandb is imported
    try:
        logger = build.logger(cfg)
        if logger:
            logger.log_hyperparams(dict(config))
    except DasError:
        raise
    except Exception as error:  # every logger has its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        remedy = "give logger=csv, or for wandb logger.offline=true (`wandb login` once where it shall be online)"
        raise ConfigError("the logger cannot be started", got=lines[0].rstrip("."), remedy=remedy) from error
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


def finish(logger: Any, ok: bool) -> str | None:
    """End the logger's run, because jobs of a multirun share a process; returns what the user may want to do next."""
    if not logger:
        return None
    if not is_wandb(logger):
        logger.save()
        return None
    run = logger.experiment
    folder, offline = str(run.settings.sync_dir), bool(run.offline)
    run.finish(exit_code=0 if ok else 1)
    if not offline:
        return None
    return f"send it to wandb: {program('wandb', 'wandb')} sync {shlex.quote(str(near(folder)))}"


def is_wandb(logger: Any) -> bool:
    """Whether this is Lightning's WandbLogger, or a subclass of it."""
    return any(c.__name__ == "WandbLogger" for c in type(logger).__mro__)
