"""The steering part of a training or an evaluation: numbers and samples, where the task has a concept to steer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from das.artifacts.subspace import Subspace
from das.steering.flips import Comparison, compare_steering, steering_metrics
from das.tasks.base import ConceptTask, Task

Samples = Sequence[Comparison]


def measure_steering(
    model: nn.Module, subspace: Subspace, task: Task, settings: Any, seed: int
) -> tuple[dict[str, float], Samples]:
    """Numbers under "steer/" and the continuations; both empty where nothing can be steered, or `settings.n` is 0.

    Args:
        model: an unsteered model.
        subspace: what to steer with.
        task: prompts and concept words.
        settings: n, factor, max_new_tokens, positions.
        seed: of the prompts.
    """
    steerable = all(f is not None for f in subspace.factors) and all(x.operations for x in subspace.interventions)
    if not settings.n or not steerable or not isinstance(task, ConceptTask) or not task.concept_words:
        return {}, ()
    compared = compare_steering(
        model, subspace, task, n=int(settings.n), factor=float(settings.factor),
        max_new_tokens=int(settings.max_new_tokens), positions=settings.positions, seed=seed,
    )  # fmt: skip
    return steering_metrics(compared, task.concept_words), compared
