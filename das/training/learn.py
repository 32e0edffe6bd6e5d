"""One recipe carried out: interventions placed and trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback

from das.interventions.sets import InterventionSet
from das.training.claim import claim
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
    interventions: InterventionSet | None = None,
    logger: Any = False,
    run_dir: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> Learned:
    """Place and train; interventions with nothing to learn stay as they are, in zero steps.

    Args:
        problem: model, task, data.
        recipe: what to do.
        shuffled: give every pair the label of another one, and be quiet about it (a control).
        interventions: start from these, placed by the same recipe, instead of fresh ones; trained in place.
        logger, callbacks: Lightning's.
        run_dir: where checkpoints go; an interrupted run of the same recipe continues from the newest.

    Raises:
        RunExistsError: `run_dir` was started with something else.
        NonFiniteLossError: the interventions given keep their last good state.
    """
    placed = recipe.place(problem, shuffled) if interventions is None else interventions
    if not placed.learned:
        return Learned(placed.eval(), Trained(0, 0.0), 0)
    watched = interventions is not None
    rows = recipe.objective.needs.rows
    data = problem.dataset("train", placed, rows)
    if shuffled:
        data = shuffle(problem, data, placed, recipe.seed)
    settings = recipe.trainer if watched else replace(recipe.trainer, progress=False, val_every=0)
    validation = problem.dataset("val", placed, rows) if settings.val_every else None
    if run_dir is not None:
        claim(run_dir, problem, recipe, placed, data)
    trained = train(
        placed, problem.engine(placed), data, recipe.objective, recipe.optimizer, settings, seed=recipe.seed,
        validation=validation, logger=logger, run_dir=run_dir, callbacks=callbacks,
    )  # fmt: skip
    return Learned(placed.requires_grad_(False).eval(), trained, len(data))
