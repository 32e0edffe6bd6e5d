"""`das train`: one run folder with a configuration, metrics and a subspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict
from torch import nn

from das.artifacts.subspace import Subspace
from das.cli import build
from das.cli.checks import check
from das.cli.config import Config
from das.cli.hydra_app import HydraConfig, is_multirun, launch
from das.cli.quiet import quiet
from das.cli.recorded import notes
from das.cli.report import print_run
from das.cli.run_folder import CONFIG, METRICS, SUBSPACE, claim, remove_if_empty, write_json, write_text
from das.cli.steering import Samples, measure_steering
from das.cli.tracking import finish, record, start
from das.training.fit import fit

#: What sweepers maximise.
MONITORED = "val/iia_changed"


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    model: nn.Module
    parts: build.Parts
    subspace: Subspace
    metrics: Mapping[str, Any]
    samples: Samples


def command(args: Sequence[str]) -> int:
    """Entry point of `das train`."""
    return launch("train", "train", args, job)


def job(cfg: Config) -> float | None:
    """One run, reported on the terminal; returns the monitored metric."""
    run = train(cfg)
    print_run(run.metrics, run.folder, run.parts.task, job_number())
    value = run.metrics.get(MONITORED)
    return float(value) if value is not None else None


def train(cfg: Config) -> Run:
    """Check, train, measure, save.

    Raises:
        RunExistsError: the folder holds a finished run or one with other settings.
        DasError: anything else that is wrong, before weights are loaded where that is possible.
    """
    quiet()
    if is_multirun():
        with open_dict(cfg):
            cfg.run_dir = HydraConfig.get().runtime.output_dir
    folder = Path(str(cfg.run_dir))
    try:
        resolved = build.plain(cfg)
        claim(folder, resolved)
        parts, chosen = build.parts(cfg), build.ModelSettings.of(cfg.model)
        check(parts, chosen, cfg.steering)
        model = build.model(chosen)
    except Exception:
        remove_if_empty(folder)
        raise
    write_text(folder / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))
    logger = start(cfg, resolved)
    done = False
    try:
        run = _run(cfg, folder, model, parts, chosen, logger)
        done = True
    finally:
        finish(logger, ok=done)
    return run


def _run(
    cfg: Config, folder: Path, model: nn.Module, parts: build.Parts, chosen: build.ModelSettings, logger: Any
) -> Run:
    fitted = fit(
        model, parts.task, parts.method, list(parts.sites), tied=parts.tied, objective=parts.objective,
        settings=parts.settings, metrics=parts.metrics, logger=logger, run_dir=folder, notes=notes(cfg, chosen),
    )  # fmt: skip
    numbers, samples = measure_steering(model, fitted.subspace, parts.task, cfg.steering, parts.settings.seed)
    measured = {**fitted.metrics, **numbers}
    subspace = replace(fitted.subspace, metrics=measured)
    saved = subspace.save(folder / SUBSPACE, overwrite=True)
    record(logger, measured, saved, samples)
    write_json(folder / METRICS, measured)
    return Run(folder, model, parts, subspace, measured, samples)


def job_number() -> int | None:
    """Number of this job in a multirun."""
    return int(HydraConfig.get().job.num) if is_multirun() else None
