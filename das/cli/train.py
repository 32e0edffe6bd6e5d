"""`das train`: one run folder with a configuration, metrics and a subspace."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict
from torch import nn

from das.artifacts.subspace import Subspace
from das.cli import build
from das.cli.checks import check
from das.cli.config import Config
from das.cli.hydra_app import HydraConfig, is_multirun
from das.cli.interrupted import Interrupted
from das.cli.progress import narrated
from das.cli.quiet import quiet
from das.cli.recorded import notes
from das.cli.report import print_run
from das.cli.run_folder import CONFIG, METRICS, SUBSPACE, claim, finished, remove_if_empty, write_json, write_text
from das.cli.steering import Samples, measure_steering
from das.cli.terminal import console, near, say
from das.cli.tracking import finish, record, start
from das.training.fit import fit
from das.training.problem import Problem

log = logging.getLogger("das.cli")

#: What sweepers maximise.
MONITORED = "val/iia_changed"


@dataclass(frozen=True)
class Run:
    """A finished run; `hint` is what its logger has to say at the end."""

    folder: Path
    model: nn.Module
    parts: build.Parts
    subspace: Subspace
    metrics: Mapping[str, Any]
    samples: Samples
    hint: str | None = None


def job(cfg: Config) -> float | None:
    """One run, reported on the terminal; returns the monitored metric."""
    metrics = _known(cfg)
    if metrics is None:
        run = train(cfg)
        metrics = run.metrics
        print_run(metrics, run.folder, run.parts.task, run.parts.steering.factor, job_number(), run.hint)
    value = metrics.get(MONITORED)
    return float(value) if value is not None else None


def train(cfg: Config) -> Run:
    """Check, train, measure, save.

    Raises:
        RunExistsError: the folder holds a finished run or one with other settings.
        Interrupted: Ctrl-C after the folder was begun.
        DasError: anything else that is wrong, before weights are loaded where that is possible.
    """
    quiet()
    folder = _folder(cfg)
    try:
        with narrated():
            return _checked(cfg, folder)
    except KeyboardInterrupt as error:
        remove_if_empty(folder)
        if not (folder / CONFIG).is_file():
            raise
        raise Interrupted(Path(HydraConfig.get().sweep.dir) if is_multirun() else folder) from error
    except Exception:
        remove_if_empty(folder)
        raise


def job_number() -> int | None:
    """Number of this job in a multirun."""
    return int(HydraConfig.get().job.num) if is_multirun() else None


def _folder(cfg: Config) -> Path:
    """The run folder; a job of a multirun gets one below the given one."""
    if is_multirun():
        with open_dict(cfg):
            cfg.run_dir = str(near(HydraConfig.get().runtime.output_dir))
    return Path(str(cfg.run_dir))


def _known(cfg: Config) -> Mapping[str, Any] | None:
    """The numbers of a job of a multirun that was finished by an earlier, interrupted one."""
    if not is_multirun():
        return None
    folder = _folder(cfg)
    metrics = finished(folder, build.plain(cfg))
    if metrics is not None:
        say(console(), f"job {job_number()}: finished before, left as it is: {folder}")
    return metrics


def _checked(cfg: Config, folder: Path) -> Run:
    """Everything that can be wrong first, then the logger, the weights and the training."""
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
        run = _run(cfg, folder, model, parts, chosen, logger)
    except BaseException:
        finish(logger, ok=False)
        raise
    return replace(run, hint=finish(logger, ok=True))


def _run(
    cfg: Config, folder: Path, model: nn.Module, parts: build.Parts, chosen: build.ModelSettings, logger: Any
) -> Run:
    """Train and save, then measure the steering and save again: nothing that was learned can get lost."""
    fitted = fit(
        model, parts.task, parts.method, list(parts.sites), tied=parts.tied, objective=parts.objective,
        settings=parts.settings, metrics=parts.metrics, logger=logger, run_dir=folder, notes=notes(cfg, chosen),
    )  # fmt: skip
    saved = fitted.subspace.save(folder / SUBSPACE, overwrite=True)
    if parts.steering.n:
        log.info("steering: %d prompts", parts.steering.n)
    problem = Problem(model, parts.task, None, parts.settings.data, parts.settings.seed)
    numbers, samples = measure_steering(problem, fitted.subspace, parts.steering, parts.settings.controls.names)
    measured = {**fitted.metrics, **numbers}
    subspace = replace(fitted.subspace, metrics=measured)
    subspace.save(saved, overwrite=True)
    write_json(folder / METRICS, measured)
    record(logger, measured, saved, samples)
    return Run(folder, model, parts, subspace, measured, samples)
