"""`das eval`: measure a saved subspace on its own task and model, or on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from das.artifacts.subspace import Subspace
from das.cli import build
from das.cli.config import Config
from das.cli.hydra_app import launch
from das.cli.quiet import quiet
from das.cli.recorded import load_subspace, recorded_metrics, recorded_model, recorded_task
from das.cli.report import print_evaluation
from das.cli.run_folder import write_json
from das.cli.steering import measure_steering
from das.errors import InputError
from das.tasks.base import Task
from das.training.controls import ControlSettings
from das.training.fit import FitSettings, measure
from das.training.problem import DataSettings, Problem

#: Known from training only; `engine/tier` and the rest are those of this evaluation.
_COPIED = ("train/steps", "train/seconds", "train/resumed", "data/train_rows")


def command(args: Sequence[str]) -> int:
    """Entry point of `das eval`."""
    return launch("eval", "eval", args, job)


def job(cfg: Config) -> float | None:
    """One evaluation, printed and written."""
    metrics, task = evaluate(cfg)
    if cfg.out is not None:
        write_json(Path(str(cfg.out)), metrics)
    print_evaluation(metrics, task, cfg.out)
    value = metrics.get("val/iia_changed")
    return float(value) if value is not None else None


def evaluate(cfg: Config) -> tuple[dict[str, Any], Task]:
    """The same numbers as a training reports.

    Raises:
        ArtifactError: no artifact, or one of another model.
    """
    quiet()
    subspace, _ = load_subspace(str(cfg.subspace))
    chosen, task = recorded_model(subspace, cfg.get("model")), recorded_task(subspace, cfg.get("task"))
    settings = fit_settings(cfg, subspace)
    metrics = build.metrics(cfg.get("metric") or recorded_metrics(subspace))
    model = build.model(chosen)
    if not cfg.allow_model_mismatch:
        subspace.check(model)
    problem = Problem(model, task, None, settings.data, settings.seed)
    interventions = subspace.interventions.to(problem.device)
    controls = {name: control.interventions.to(problem.device) for name, control in subspace.controls.items()}
    test = problem.dataset("test", interventions)
    numbers = measure(problem, interventions, controls, metrics, settings, test)
    numbers |= {key: subspace.metrics[key] for key in _COPIED if key in subspace.metrics}
    numbers["seed"] = settings.seed
    steering, _ = measure_steering(model, subspace, task, cfg.steering, settings.seed)
    return {**numbers, **steering}, task


def fit_settings(cfg: Config, subspace: Subspace) -> FitSettings:
    """The settings of the training, with what the command line gives instead."""
    seed = subspace.training.get("seed", 0) if cfg.seed is None else cfg.seed
    data = _merged(DataSettings, subspace.training.get("data"), cfg.data)
    controls = _merged(ControlSettings, subspace.training.get("controls"), cfg.controls)
    return FitSettings(
        data, trainer=replace(build.make(cfg.trainer), progress=False), controls=controls, seed=int(seed)
    )


def _merged(kind: Any, recorded: Mapping[str, Any] | None, node: Config) -> Any:
    known = {f.name for f in fields(kind)}
    given = {k: v for k, v in build.plain(node).items() if v is not None}
    merged = {k: v for k, v in {**(recorded or {}), **given}.items() if k in known}
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in merged.items()})
    except TypeError as error:
        raise InputError(f"the recorded {kind.__name__} cannot be used", got=str(error)) from error
