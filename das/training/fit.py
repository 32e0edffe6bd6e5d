"""`fit`: learn an intervention, measure it beside its controls, and hand it over as a subspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback
from torch import nn

from das.artifacts.parts import ModelCard
from das.artifacts.subspace import Subspace
from das.data.dataset import PairDataset
from das.data.tokenize import Tokenizer
from das.errors import NonFiniteLossError
from das.interventions.sets import InterventionSet
from das.metrics.base import Metric
from das.metrics.iia import IIA
from das.metrics.iia_full_vocab import IIAFullVocab
from das.objectives.base import Objective
from das.objectives.counterfactual_ce import CounterfactualCE
from das.tasks.base import Task
from das.training.controls import ControlSettings, Recipe, measure_controls, train_controls
from das.training.evaluate import evaluate, natively_correct
from das.training.factors import factors_of
from das.training.loop import Trained, TrainerSettings, prepared, train
from das.training.optim import AdamW
from das.training.problem import Builder, DataSettings, Problem
from das.types import Site

#: Metrics reported when none are named.
DEFAULT_METRICS: Mapping[str, Metric] = {"iia": IIA(), "iia_full_vocab": IIAFullVocab()}


@dataclass(frozen=True)
class Fit:
    """What `fit` returns.

    Attributes:
        subspace: the frozen artifact, with factors, metrics and trained controls.
        metrics: flat name -> number; controls under "control/NAME/METRIC".
    """

    subspace: Subspace
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class FitSettings:
    """Everything about a run that is not the model, the task, the method or the site."""

    data: DataSettings = field(default_factory=DataSettings)
    optimizer: AdamW = field(default_factory=AdamW)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    controls: ControlSettings = field(default_factory=ControlSettings)
    seed: int = 0


def fit(
    model: nn.Module,
    task: Task,
    intervention: Builder,
    site: Site | Sequence[Site],
    *,
    objective: Objective | None = None,
    settings: FitSettings | None = None,
    tokenizer: Tokenizer | None = None,
    metrics: Mapping[str, Metric] | None = None,
    logger: Any = False,
    run_dir: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    notes: Mapping[str, Any] | None = None,
) -> Fit:
    """Train an intervention in a frozen model and measure it on held-out entities.

    Args:
        model: from `das.load_model`.
        task: where pairs come from.
        intervention: a method with everything but the width, e.g. `functools.partial(das, rank=1)`.
        site: where; several sites get one intervention each and are trained together.
        objective: what is minimised; cross-entropy of the counterfactual label by default.
        settings: data, optimiser, trainer, controls, seed.
        tokenizer: the model's own by default.
        metrics: reported name -> metric; IIA over the label set and over the vocabulary by default.
        logger, callbacks: Lightning's.
        run_dir: where checkpoints go; an interrupted run with the same settings continues from the newest.
        notes: stored in the artifact's "training" section (command, git commit, ...).

    Raises:
        DasError: bad input, before any long work; NonFiniteLossError keeps the last good state in RUN_DIR/last_good.
    """
    settings, objective = settings or FitSettings(), objective or CounterfactualCE()
    sites = [site] if isinstance(site, Site) else list(site)
    problem = Problem(model, task, tokenizer, settings.data, settings.seed)
    interventions = problem.interventions(sites, intervention)
    test = problem.dataset("test", interventions)
    data = problem.dataset("train", interventions, interventions.pairing)
    recipe = Recipe(intervention, objective, settings.optimizer, settings.trainer, settings.seed)
    training = _training(objective, settings, notes)
    where = {"logger": logger, "run_dir": None if run_dir is None else Path(run_dir), "callbacks": callbacks}
    trained = _train(problem, interventions, data, recipe, training, **where)
    controls = train_controls(problem, sites, recipe, settings.controls)
    numbers = measure(problem, interventions, controls, metrics or DEFAULT_METRICS, settings, test)
    numbers |= _about(trained, settings, len(data))
    return Fit(_subspace(problem, interventions, training, numbers, controls), numbers)


def _train(
    problem: Problem,
    interventions: InterventionSet,
    data: PairDataset,
    recipe: Recipe,
    training: Mapping[str, Any],
    **where: Any,
) -> Trained:
    watched = recipe.settings.val_every > 0 and interventions.learned
    val = problem.dataset("val", interventions, interventions.pairing) if watched else None
    engine, folder = problem.engine(interventions), where["run_dir"]
    try:
        trained = train(
            interventions, engine, data, recipe.objective, recipe.optimizer, recipe.settings,
            seed=recipe.seed, validation=val, **where,
        )  # fmt: skip
    except NonFiniteLossError:
        if folder is not None:
            _subspace(problem, interventions, training, {}, {}).save(folder / "last_good", overwrite=True)
        raise
    interventions.requires_grad_(False)
    return trained


def measure(
    problem: Problem,
    interventions: InterventionSet,
    controls: Mapping[str, InterventionSet],
    metrics: Mapping[str, Metric],
    settings: FitSettings,
    test: Any = None,
) -> dict[str, Any]:
    """Metrics on the test split beside all controls, on the validation split, and the model's own accuracy."""
    test = problem.dataset("test", interventions) if test is None else test
    engine = problem.engine(interventions)
    ready = prepared(engine, test, settings.trainer, target=False)
    size = settings.data.batch_size
    numbers: dict[str, Any] = dict(evaluate(ready, test, interventions, metrics, size))
    numbers |= measure_controls(problem, interventions, ready, test, controls, metrics, settings.controls)
    val = problem.dataset("val", interventions)
    on_val = evaluate(prepared(engine, val, settings.trainer, target=False), val, interventions, metrics, size)
    numbers |= {f"val/{name}": value for name, value in on_val.items()}
    if test.labels is not None:
        numbers["model/accuracy"] = float(natively_correct(engine, test, size).double().mean())
    wrong = controls.get("wrong_site")
    if wrong is not None:
        numbers["control/wrong_site/positions"] = wrong.placements[0].write.positions
    return numbers | {
        "engine/tier": ready.tier,
        "engine/tier_reason": ready.reason,
        "data/test_pairs": len(test),
        **{f"invariant/{k}": v for k, v in interventions.invariants().items()},
    }


def _about(trained: Trained, settings: FitSettings, rows: int) -> dict[str, Any]:
    return {
        "train/steps": trained.steps,
        "train/seconds": round(trained.seconds, 3),
        "engine/tier": trained.tier,
        "engine/tier_reason": trained.tier_reason,
        "data/train_rows": rows,
        "train/resumed": trained.resumed,
        "seed": settings.seed,
    }


def _training(objective: Objective, settings: FitSettings, notes: Mapping[str, Any] | None) -> dict[str, Any]:
    name = type(objective).__module__.rsplit(".", 1)[-1]
    return {"objective": name, **asdict(settings), **(notes or {})}


def _subspace(
    problem: Problem,
    interventions: InterventionSet,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    controls: Mapping[str, InterventionSet],
) -> Subspace:
    card, task = ModelCard.of(problem.model), problem.task

    def wrap(learned: InterventionSet, **more: Any) -> Subspace:
        frozen = learned.to("cpu").eval().requires_grad_(False)
        return Subspace(frozen, card, more.pop("factors"), task.finder, task.name, training, **more)

    wrapped = {name: wrap(x, factors=(None,) * len(x)) for name, x in controls.items()}
    factors = factors_of(problem, interventions)
    return wrap(interventions, factors=factors, metrics=metrics, controls=wrapped)
