"""`das eval`: measure a saved subspace on its own task and model, or on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
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
from das.metrics.base import Metric
from das.tasks.base import Task
from das.training.controls.base import Trial
from das.training.controls.run import ControlSettings, make_controls
from das.training.measure import NOT_MEASURED, measurable, measure
from das.training.problem import DataSettings, Problem
from das.training.settings import FitSettings

#: Known from training only.
_COPIED = ("train/steps", "train/seconds", "train/resumed", "data/train_rows", "engine/tier", "engine/tier_reason")


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
    numbers: dict[str, Any] = {key: subspace.metrics[key] for key in _COPIED if key in subspace.metrics}
    numbers |= {f"invariant/{k}": v for k, v in subspace.interventions.invariants().items()}
    numbers |= _measured(problem, subspace, settings, metrics)
    numbers["seed"] = settings.seed
    steering, _ = measure_steering(model, subspace, task, cfg.steering, settings.seed)
    return {**numbers, **steering}, task


def _measured(
    problem: Problem, subspace: Subspace, settings: FitSettings, metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """Interchange metrics beside the untrained controls, and the trained ones that the artifact holds."""
    testable = measurable(problem, deepcopy(subspace.interventions).to(problem.device))
    if testable.interchange is None or testable.test is None:
        return {NOT_MEASURED: testable.reason}
    trial = Trial(problem, testable.interchange)
    names, kept = settings.controls.names, subspace.controls
    made, without = make_controls(trial, [name for name in names if name not in kept])
    made |= {name: [deepcopy(kept[name].interventions).to(problem.device)] for name in names if name in kept}
    numbers = {f"control/{name}/not_measured": reason for name, reason in without.items()}
    return {**numbers, **measure(trial, testable.test, made, metrics, settings.trainer)}


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
