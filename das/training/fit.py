"""`fit`: learn an intervention, measure it beside its controls, and hand it over as a subspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback
from torch import nn

from das.artifacts.model_card import ModelCard
from das.artifacts.subspace import Subspace
from das.data.tokenize import Tokenizer
from das.errors import NonFiniteLossError
from das.factors import Factors
from das.interventions.sets import InterventionSet
from das.metrics.base import Metric
from das.objectives.base import Objective
from das.tasks.base import Task
from das.training.controls.base import Subject, control
from das.training.controls.run import Made, make_controls
from das.training.factors import factors_of
from das.training.learn import Learned, learn
from das.training.measure import DEFAULT_METRICS, NOT_MEASURED, SWAPPED, Measurable, measurable, measure
from das.training.problem import Problem
from das.training.recipe import Method, Recipe
from das.training.settings import FitSettings
from das.types import Site


@dataclass(frozen=True, repr=False)
class Fit:
    """What `fit` returns.

    Attributes:
        subspace: the frozen artifact, with factors, metrics and trained controls.
        metrics: flat name -> number; controls under "control/NAME/METRIC".
    """

    subspace: Subspace
    metrics: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Fit({self.subspace!r}, {len(self.metrics)} metrics)"


def fit(
    model: nn.Module,
    task: Task,
    method: Method,
    site: Site | Sequence[Site],
    *,
    tied: bool = False,
    objective: Objective | None = None,
    settings: FitSettings | None = None,
    tokenizer: Tokenizer | None = None,
    metrics: Mapping[str, Metric] | None = None,
    logger: Any = False,
    run_dir: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    notes: Mapping[str, Any] | None = None,
) -> Fit:
    """Train an intervention in a frozen model and measure it on held-out entities; the global random state stays.

    Args:
        model: from `das.load_model`.
        task: where pairs come from.
        method: a method with everything but the width, e.g. `das.method("das", rank=1)`.
        site: where; several sites get one intervention each and are trained together.
        tied: several sites share one intervention.
        objective: what is minimised; the method's own by default (`Intervention.trained_by`).
        settings, tokenizer: data, optimiser, trainer, controls, seed; the model's own tokenizer by default.
        metrics: reported name -> metric; IIA over the label set and over the vocabulary by default.
        logger, callbacks: Lightning's.
        run_dir: where checkpoints go; an interrupted run of the same settings continues from the newest.
        notes: stored in the artifact's "training" section (command, git commit, ...).

    Raises:
        RunExistsError: `run_dir` was started with something else.
        DasError: bad input, before any long work; NonFiniteLossError keeps the last good state in RUN_DIR/last_good.
    """
    settings = settings or FitSettings()
    recipe = settings.recipe(method, site, tied, objective)
    problem = Problem(model, task, tokenizer, settings.data, settings.seed)
    placed = recipe.place(problem)
    testable = measurable(problem, placed, metrics or DEFAULT_METRICS)
    training = _training(recipe, placed, settings, notes)
    where = {"logger": logger, "run_dir": None if run_dir is None else Path(run_dir), "callbacks": callbacks}
    try:
        learned = learn(problem, recipe, interventions=placed, **where)
    except NonFiniteLossError:
        if run_dir is not None:
            _subspace(problem, placed, training).save(Path(run_dir) / "last_good", overwrite=True)
        raise
    numbers, made = _measured(problem, recipe, learned, testable, settings)
    return Fit(_subspace(problem, learned.interventions, training, numbers, made), numbers)


def _measured(
    problem: Problem,
    recipe: Recipe,
    learned: Learned,
    testable: Measurable,
    settings: FitSettings,
) -> tuple[dict[str, Any], Made]:
    """Numbers, and the trained controls among those made."""
    error = learned.trained.store_grad_rel_err
    numbers: dict[str, Any] = {
        "train/steps": learned.trained.steps,
        "train/seconds": round(learned.trained.seconds, 3),
        "train/resumed": learned.trained.resumed,
        "engine/tier": learned.trained.tier,
        "engine/tier_reason": learned.trained.tier_reason,
        **({"engine/store_grad_rel_err": error} if error is not None else {}),
        **({"data/train_rows": learned.rows} if learned.rows else {}),
        **{f"data/{split}_prompts_fitted": n for split, n in problem.fitted.items()},
        **{f"data/dropped/{split}/{why}": n for split, each in problem.dropped.items() for why, n in each.items()},
        "seed": settings.seed,
        **{f"invariant/{k}": v for k, v in learned.interventions.invariants().items()},
    }
    if testable.interchange is None or testable.test is None:
        return {**numbers, NOT_MEASURED: testable.reason}, {}
    subject = Subject(problem, testable.interchange, recipe, settings.controls.wrong_positions)
    made, without = make_controls(subject, settings.controls.names)
    numbers |= {f"control/{name}/not_measured": reason for name, reason in without.items()}
    numbers |= {SWAPPED: testable.swapped} if testable.swapped else {}
    numbers |= {f"metric/{name}/not_measured": reason for name, reason in testable.without.items()}
    return {**numbers, **measure(subject, testable.test, made, testable.metrics, settings.trainer)}, made


def _training(
    recipe: Recipe, placed: InterventionSet, settings: FitSettings, notes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What is recorded; of a closed form no objective, because it has none."""
    trained: dict[str, Any] = {"objective": None, "rows": None}
    if placed.learned:
        objective = recipe.minimised(placed)
        trained = {"objective": type(objective).__module__.rsplit(".", 1)[-1], "rows": objective.needs.rows}
    parts = {k: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v for k, v in vars(settings).items()}
    return {**trained, **parts, **(notes or {})}


def _subspace(
    problem: Problem,
    interventions: InterventionSet,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
    made: Made | None = None,
) -> Subspace:
    card = ModelCard.of(problem.model)

    def wrapped(learned: InterventionSet, factors: tuple[Factors | None, ...]) -> Subspace:
        return Subspace(learned.frozen(), card, factors, problem.task.finder, problem.task.name, training)

    trained = {name: sets[0] for name, sets in (made or {}).items() if control(name).trained}
    controls = {name: wrapped(x, (None,) * len(x)) for name, x in trained.items() if x is not None}
    whole = wrapped(interventions, factors_of(problem, interventions))
    return replace(whole, metrics=metrics or {}, controls=controls)
