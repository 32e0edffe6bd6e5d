"""What commands with a run folder share: which folder, Ctrl-C, and everything between the settings and the work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf, open_dict
from torch import nn

from das.cli import build
from das.cli.checks import check
from das.cli.config import Config
from das.cli.hydra_app import HydraConfig, is_multirun
from das.cli.interrupted import Interrupted
from das.cli.progress import narrated
from das.cli.quiet import quiet
from das.cli.run_folder import CONFIG, claim, remove_if_empty, write_text
from das.cli.terminal import console, near, say
from das.cli.tracking import finish, start

log = logging.getLogger("das.cli")

T = TypeVar("T")


@dataclass(frozen=True)
class Begun:
    """A run that has all it needs."""

    folder: Path
    model: nn.Module
    parts: build.Parts
    chosen: build.ModelSettings
    logger: Any


def folder_of(cfg: Config) -> Path:
    """The run folder; a job of a multirun gets one below the given one."""
    if is_multirun():
        with open_dict(cfg):
            cfg.run_dir = str(near(HydraConfig.get().runtime.output_dir))
    return Path(str(cfg.run_dir))


@contextmanager
def in_folder(cfg: Config) -> Iterator[Path]:
    """The run folder, told of while it fills; not left behind empty.

    Raises:
        Interrupted: Ctrl-C after the folder was begun.
    """
    quiet()
    folder = folder_of(cfg)
    try:
        with narrated():
            yield folder
    except KeyboardInterrupt as error:
        remove_if_empty(folder)
        if not (folder / CONFIG).is_file():
            raise
        raise Interrupted(Path(HydraConfig.get().sweep.dir) if is_multirun() else folder) from error
    except Exception:
        remove_if_empty(folder)
        raise


def carried_out(cfg: Config, folder: Path, work: Callable[[Begun], T]) -> tuple[T, str | None]:
    """Everything that can be wrong first, then the logger, the weights and the work; with the logger's hint.

    Raises:
        RunExistsError: the folder holds a finished run or one with other settings.
        DasError: anything else that is wrong, before weights are loaded where that is possible.
    """
    resolved = build.plain(cfg)
    goes_on = claim(folder, resolved)
    parts, chosen = build.parts(cfg), build.ModelSettings.of(cfg.model)
    check(parts, chosen)
    say(console(), f"run folder: {folder}{' (goes on with what was interrupted)' if goes_on else ''}")
    logger = start(cfg, resolved)
    try:
        log.info("loading model %s", chosen.path)
        model = build.model(chosen)
        write_text(folder / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))
        done = work(Begun(folder, model, parts, chosen, logger))
    except BaseException:
        finish(logger, ok=False)
        raise
    return done, finish(logger, ok=True)
