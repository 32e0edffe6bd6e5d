"""`das eval`: measure a saved subspace on its own task and model, or on others."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from das.artifacts.subspace import Subspace
from das.cli import build
from das.cli.config import Config
from das.cli.judging import measure_judged
from das.cli.progress import narrated
from das.cli.quiet import quiet
from das.cli.recorded import command, load_subspace, recorded_metrics, recorded_model, recorded_task
from das.cli.report import print_evaluation
from das.cli.run_folder import check_out, write_json
from das.cli.steering import SteeringSettings, check_steering, measure_steering
from das.cli.terminal import console, say
from das.cli.typed import checked_arguments, truth, whole
from das.metrics.base import Metric
from das.tasks.base import Task
from das.training.controls.base import Subject
from das.training.controls.run import ControlSettings, make_controls
from das.training.measure import NOT_MEASURED, SWAPPED, measurable, measure
from das.training.problem import DataSettings, Problem
from das.training.settings import FitSettings


def job(cfg: Config) -> float | None:
    """One evaluation, printed and written."""
    quiet()
    check_out(cfg.out)
    with narrated():
        metrics, task, steering, learned = evaluate(cfg)
    print_evaluation(metrics, task, steering.factor, learned)
    if cfg.out is not None:
        write_json(Path(str(cfg.out)).expanduser(), metrics)
        say(console(), f"written to {cfg.out}")
    value = metrics.get("val/iia_changed")
    return float(value) if value is not None else None


def evaluate(cfg: Config) -> tuple[dict[str, Any], Task, SteeringSettings, bool]:
    """What a training reports, its course apart, with what it is about and whether it was trained.

    Raises:
        ArtifactError: no artifact, or one of another model.
    """
    mismatch, steering = truth(cfg.allow_model_mismatch, "allow_model_mismatch"), build.make(cfg.steering, "steering")
    judge, judging = build.judge(cfg.get("judge")), build.make(cfg.judging, "judging")
    subspace, path = load_subspace(cfg)
    settings = fit_settings(cfg, subspace)
    cfg.data.strict = settings.data.strict  # tasks that read files refer to it
    chosen, task = recorded_model(subspace, cfg.get("model")), recorded_task(subspace, cfg.get("task"))
    metrics = build.metrics(cfg.get("metric") or recorded_metrics(subspace))
    skeleton = build.meta(chosen)
    subspace.check_sites(skeleton)
    check_steering(
        steering, Problem(skeleton, task, build.tokenizer(chosen), settings.data, settings.seed), subspace.interventions
    )
    model = build.model(chosen)
    if not mismatch:
        subspace.check(model)
    problem = Problem(model, task, None, settings.data, settings.seed)
    numbers: dict[str, Any] = {f"invariant/{k}": v for k, v in subspace.interventions.invariants().items()}
    numbers |= _measured(problem, subspace, settings, metrics)
    numbers["seed"] = settings.seed
    steered, _ = measure_steering(problem, subspace, steering, settings.controls.names)
    steered |= measure_judged(problem, subspace, judge, judging)
    about = {"subspace": str(path), "model": chosen.path, "command": command()}
    return {**numbers, **steered, **about}, task, steering, subspace.training.get("objective") is not None


def _measured(
    problem: Problem, subspace: Subspace, settings: FitSettings, metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """Interchange metrics beside the untrained controls, and the trained ones that the artifact holds."""
    testable = measurable(problem, deepcopy(subspace.interventions).to(problem.device), metrics)
    if testable.interchange is None or testable.test is None:
        return {NOT_MEASURED: testable.reason}
    subject = Subject(problem, testable.interchange)
    names, kept = settings.controls.names, subspace.controls
    made, without = make_controls(subject, [name for name in names if name not in kept])
    made |= {name: [deepcopy(kept[name].interventions).to(problem.device)] for name in names if name in kept}
    numbers = {f"control/{name}/not_measured": reason for name, reason in without.items()}
    numbers |= {SWAPPED: testable.swapped} if testable.swapped else {}
    numbers |= {f"metric/{name}/not_measured": reason for name, reason in testable.without.items()}
    return {**numbers, **measure(subject, testable.test, made, testable.metrics, settings.trainer)}


def fit_settings(cfg: Config, subspace: Subspace) -> FitSettings:
    """The settings of the training, with what the command line gives instead."""
    seed = whole(subspace.training.get("seed", 0) if cfg.seed is None else cfg.seed, "seed")
    data = _merged(DataSettings, "data", subspace, cfg.data)
    controls = _merged(ControlSettings, "controls", subspace, cfg.controls)
    trainer = replace(build.make(cfg.trainer, "trainer"), progress=False)
    return FitSettings(data, trainer=trainer, controls=controls, seed=seed)


def _merged(kind: Any, section: str, subspace: Subspace, node: Config) -> Any:
    known = {f.name for f in fields(kind)}
    given = {k: v for k, v in build.plain(node).items() if v is not None}
    merged = {k: v for k, v in {**(subspace.training.get(section) or {}), **given}.items() if k in known}
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in merged.items()}
    return kind(**checked_arguments(kind, arguments, section))
