"""The steering part of a training or an evaluation: numbers and samples, where the task has a concept to steer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from das.artifacts.steers import default_edit
from das.artifacts.subspace import Subspace
from das.data.positions import parse_positions
from das.errors import CapabilityError, ContextLengthError, InputError
from das.interventions.sets import InterventionSet
from das.steering.flips import Comparison, compare_steering, steering_metrics
from das.steering.random_like import random_like
from das.steering.tables import tabulate
from das.tasks.base import ConceptTask, Task
from das.training.factors import factors_of
from das.training.problem import Problem

Samples = Sequence[Comparison]

#: Why there are no steering metrics, where there are none.
NOT_MEASURED = "steer/not_measured"
#: The control whose steering is measured too.
RANDOM = "random_subspace"


@dataclass(frozen=True)
class SteeringSettings:
    """What is measured of the steering.

    Attributes:
        n: held-out prompts; 0 measures nothing.
        factor: size of the factor, either sign is used.
        max_new_tokens: length of the continuations.
        positions: where to steer; as trained where None.
    """

    n: int = 40
    factor: float = 1.0
    max_new_tokens: int = 30
    positions: str | None = None

    def __post_init__(self) -> None:
        if self.n < 0:
            raise InputError("steering.n must not be negative", got=self.n, remedy="steering.n=0 turns it off")
        if not 0 < self.factor < float("inf"):
            raise InputError(
                "steering.factor must be positive", got=self.factor, remedy="both signs are measured in any case"
            )
        if self.max_new_tokens < 1:
            raise InputError("steering.max_new_tokens must be at least 1", got=self.max_new_tokens)
        if self.positions is not None:
            parse_positions(self.positions)


def check_steering(settings: SteeringSettings, problem: Problem, interventions: InterventionSet) -> None:
    """Find positions in all prompts that will be steered, and see whether they fit the context; needs no weights.

    Raises:
        DasError: the measurement would fail after the training.
    """
    task = problem.task
    if not settings.n or not isinstance(task, ConceptTask) or why_not(interventions, task) is not None:
        return
    prompts = [prompt for prompt, _ in task.prompts("test", settings.n, problem.seed)]
    encoded = list(problem.encoder.encode_all(prompts))
    for prompt in encoded:
        try:
            problem.encoder.check_length(prompt, settings.max_new_tokens - 1)
        except ContextLengthError as error:
            remedy = "give a smaller steering.max_new_tokens, or steering.n=0"
            raise ContextLengthError(error.what, got=error.got, remedy=remedy) from error
    for placement in interventions.placements:
        spec = parse_positions(settings.positions or placement.write.positions)
        tabulate(spec, encoded, torch.device("cpu"), task.finder)


def measure_steering(
    problem: Problem, subspace: Subspace, settings: SteeringSettings, controls: Sequence[str]
) -> tuple[dict[str, Any], Samples]:
    """Numbers under "steer/", or why there are none, and the continuations; both empty where `settings.n` is 0.

    Args:
        problem: an unsteered model, a task with concept words, the seed of the prompts.
        subspace: what to steer with.
        settings: how many prompts, how strongly, how long, where.
        controls: names; with "random_subspace" random directions are steered too.
    """
    task = problem.task
    if not settings.n:
        return {}, ()
    reason = why_not(subspace.interventions, task)
    if reason is None and any(known is None for known in subspace.factors):
        reason = "the artifact has no mean coordinates of the two concept values, so there is no size of a factor"
    if reason is not None or not isinstance(task, ConceptTask):
        return {NOT_MEASURED: reason}, ()
    try:
        compared = _compared(problem, subspace, task, settings)
    except CapabilityError as error:
        return {NOT_MEASURED: str(error)}, ()
    numbers: dict[str, Any] = dict(steering_metrics(compared, task.concept_words))
    if RANDOM in controls:
        numbers |= {f"control/{RANDOM}/{k}": v for k, v in _random(problem, subspace, task, settings).items()}
    return numbers, compared


def _compared(problem: Problem, subspace: Subspace, task: ConceptTask, settings: SteeringSettings) -> list[Comparison]:
    return compare_steering(
        problem.model, subspace, task, n=settings.n, factor=settings.factor, max_new_tokens=settings.max_new_tokens,
        positions=settings.positions, seed=problem.seed,
    )  # fmt: skip


def _random(problem: Problem, subspace: Subspace, task: ConceptTask, settings: SteeringSettings) -> dict[str, Any]:
    """The same numbers for random directions; or why there are none."""
    try:
        drawn = random_like(subspace.interventions)
        factors = factors_of(problem, drawn.to(problem.device))
        other = replace(subspace, interventions=drawn.frozen(), factors=factors)
        return dict(steering_metrics(_compared(problem, other, task, settings), task.concept_words))
    except CapabilityError as error:
        return {NOT_MEASURED: str(error)}


def why_not(interventions: InterventionSet, task: Task) -> str | None:
    """Why steering in two directions cannot be measured, in words; None where it can."""
    if not isinstance(task, ConceptTask):
        return f"task {task.name!r} has no concept with two values to steer between"
    if not task.concept_words:
        return f"task {task.name!r} names no words that show the concept in a text"
    edits = {x.name: default_edit(x) for x in interventions}
    if unable := [name for name, edit in edits.items() if edit is None]:
        return f"{unable[0]} only puts other activations in place, so it cannot be steered"
    if all(edit is not None and edit.factor == "none" for edit in edits.values()):
        return f"{', '.join(edits)} takes no factor: it removes what it found, and there are no two ways to steer"
    return None
