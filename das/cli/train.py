"""`das train`: one run folder with a configuration, metrics and a subspace."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from das.artifacts.subspace import Subspace
from das.cli import build
from das.cli.config import Config
from das.cli.hydra_app import HydraConfig, is_multirun
from das.cli.recorded import notes
from das.cli.report import print_run
from das.cli.run_folder import METRICS, SUBSPACE, finished, write_json
from das.cli.runs import Begun, carried_out, folder_of, in_folder
from das.cli.steering import Samples, measure_steering
from das.cli.terminal import console, say
from das.cli.tracking import record
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
    with in_folder(cfg) as folder:
        run, hint = carried_out(cfg, folder, lambda begun: _run(cfg, begun))
        return replace(run, hint=hint)


def job_number() -> int | None:
    """Number of this job in a multirun."""
    return int(HydraConfig.get().job.num) if is_multirun() else None


def _known(cfg: Config) -> Mapping[str, Any] | None:
    """The numbers of a job of a multirun that was finished by an earlier, interrupted one."""
    if not is_multirun():
        return None
    folder = folder_of(cfg)
    metrics = finished(folder, build.plain(cfg))
    if metrics is not None:
        say(console(), f"job {job_number()}: finished before, left as it is: {folder}")
    return metrics


def _run(cfg: Config, begun: Begun) -> Run:
    """Train and save, then measure the steering and save again: nothing that was learned can get lost."""
    folder, model, parts = begun.folder, begun.model, begun.parts
    fitted = fit(
        model, parts.task, parts.method, list(parts.sites), tied=parts.tied, objective=parts.objective,
        settings=parts.settings, metrics=parts.metrics, logger=begun.logger, run_dir=folder,
        notes=notes(cfg, begun.chosen),
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
    record(begun.logger, measured, saved, samples)
    return Run(folder, model, parts, subspace, measured, samples)
