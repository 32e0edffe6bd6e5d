"""One recipe carried out: interventions placed and trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback

from das.batch import no_values
from das.data.dataset import PairDataset
from das.errors import CapabilityError
from das.interventions.sets import InterventionSet
from das.objectives.base import Needs
from das.training.claim import FILE, claim, facts
from das.training.loop import Trained, train
from das.training.problem import Problem
from das.training.recipe import Recipe
from das.training.shuffle import shuffled as shuffle


@dataclass(frozen=True)
class Learned:
    """Frozen interventions, what their training did, and how many rows it saw."""

    interventions: InterventionSet
    trained: Trained
    rows: int


def learn(
    problem: Problem,
    recipe: Recipe,
    *,
    shuffled: bool = False,
    quiet: bool = False,
    interventions: InterventionSet | None = None,
    logger: Any = False,
    run_dir: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> Learned:
    """Place and train; interventions with nothing to learn stay as they are, in zero steps.

    Args:
        problem: model, task, data.
        recipe: what to do.
        shuffled: give every pair the label of another one (a control).
        quiet: no progress is shown and no validation loss measured.
        interventions: start from these, placed by the same recipe, instead of fresh ones; trained in place.
        logger, callbacks: Lightning's.
        run_dir: where checkpoints go; an interrupted run of the same recipe continues from the newest.

    Raises:
        CapabilityError: the objective's data cannot teach such interventions anything.
        RunExistsError: `run_dir` was started with something else.
        NonFiniteLossError: the interventions given keep their last good state.
    """
    placed = recipe.place(problem, shuffled) if interventions is None else interventions
    if not placed.learned:
        return Learned(placed.eval(), Trained(0, 0.0), 0)
    objective = recipe.minimised(placed)
    needs = objective.needs
    data = problem.dataset("train", placed, needs)
    check_trainable(placed, needs, data)
    if shuffled:
        data = shuffle(problem, data, placed, recipe.seed, needs.watch)
    settings = replace(recipe.trainer, progress=False, val_every=0) if quiet else recipe.trainer
    validation = problem.dataset("val", placed, needs) if settings.val_every else None
    if run_dir is not None:
        claim(run_dir / FILE, facts(problem, recipe, placed, data))
    engine = problem.engine(placed, needs.watch)
    trained = train(
        placed, engine, data, objective, recipe.optimizer, settings, seed=recipe.seed,
        validation=validation, logger=logger, run_dir=run_dir, callbacks=callbacks,
    )  # fmt: skip
    return Learned(placed.requires_grad_(False).eval(), trained, len(data))


def check_trainable(interventions: InterventionSet, needs: Needs, data: PairDataset) -> None:
    """Refuse data that lack what the objective looks at, or whose rows want opposite things of what looks the same to
    the interventions.

    Raises:
        CapabilityError: pairs without the value or the counterfactual run that they are trained towards, interchange
            pairs without a source, or both directions of preferences without a factor.
    """
    if needs.values and any(pair.value is None for pair in data.pairs):
        raise no_values("this objective")
    if "target" in needs.runs and (without := sum(pair.target is None for pair in data.pairs)):
        raise CapabilityError(
            "this objective matches the counterfactual run's distribution, and pairs have none",
            got=f"{without} of {len(data)} rows without a target", remedy="use objective=counterfactual_ce",
        )  # fmt: skip
    names = ", ".join(dict.fromkeys(x.name for x in interventions))
    changed = set(data.table["changed"])
    if needs.rows == "pairs" and not interventions.sources and len(changed) == 2:
        raise CapabilityError(
            f"{names} reads no source, so it cannot tell which pairs are to change their label and which are not",
            got="an objective on interchange pairs", remedy="use objective=lm_loss, or a method that interchanges",
        )  # fmt: skip
    if needs.rows == "preferences" and not any(x.edit.factor != "none" for x in interventions):
        raise CapabilityError(
            f"{names} takes no factor, so it cannot tell which direction a preference is for",
            got="an objective on preferences of both directions",
            remedy="use objective.rows=contrast_preferences, or a method that adds (steering_vector)",
        )  # fmt: skip
