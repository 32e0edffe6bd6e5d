"""What can be known to be wrong before weights are loaded: sites, ranks, positions, labels, lengths, splits."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from das.cli.build import ModelSettings, Parts, meta, tokenizer
from das.cli.steering import check_steering
from das.data.positions import parse_positions
from das.data.responses import from_texts
from das.engine.engine import Engine
from das.engine.tiers import why_not_resumable
from das.errors import CapabilityError, ConfigError
from das.interventions.sets import InterventionSet
from das.models.families import ModelView
from das.tasks.base import ConceptTask, ContrastTask
from das.training.controls.wrong_site import elsewhere
from das.training.learn import check_trainable
from das.training.measure import Measurable, measurable
from das.training.problem import Problem
from das.training.recipe import Recipe
from das.types import Contrast

#: Pairs per split that are looked at.
SAMPLE = 64
_WORDS = 4


@dataclass(frozen=True)
class Bound:
    """A configuration bound to a model without weights.

    Attributes:
        problem: task, tokenizer and data settings on that model.
        interventions: placed; freshly initialised.
        testable: what will be measured, or why not.
        paths: the module each intervention writes to.
        tier: the engine tier to expect, with the reason.
    """

    problem: Problem
    interventions: InterventionSet
    testable: Measurable
    paths: tuple[str, ...]
    tier: str


def check(parts: Parts, chosen: ModelSettings) -> Bound:
    """Bind everything.

    Raises:
        DasError: whatever would go wrong later because of the configuration.
    """
    settings = parts.settings
    parse_positions(settings.controls.wrong_positions)
    skeleton = meta(chosen)
    few = {name: min(SAMPLE, getattr(settings.data, name)) for name in ("n_train", "n_val", "n_test", "n_contrast")}
    data = replace(settings.data, **few, filter_correct=False)
    problem = Problem(skeleton, parts.task, tokenizer(chosen), data, settings.seed)
    recipe = settings.recipe(parts.method, parts.sites, parts.tied, parts.objective)
    interventions = recipe.place(problem)
    obstacle = why_not_resumable(Engine(skeleton, interventions.placements))
    tier = f"hooks ({obstacle})" if obstacle else _expected(settings.trainer.tier)
    _check_training(problem, recipe, interventions)
    _check_optimizer(recipe, interventions)
    check_steering(parts.steering, problem, interventions)
    testable = _check_testing(problem, recipe, interventions, "wrong_site" in settings.controls.names, parts)
    view = ModelView(skeleton)
    paths = tuple(view.bind(placement.write).path for placement in interventions.placements)
    return Bound(problem, interventions, testable, paths, tier)


def _check_training(problem: Problem, recipe: Recipe, interventions: InterventionSet) -> None:
    if not interventions.learned:
        return
    needs = recipe.minimised(interventions).needs
    if needs.rows == "pairs":
        data = problem.dataset("train", interventions, needs)
        check_trainable(interventions, needs, data)
        return
    if not isinstance(problem.task, ContrastTask):
        problem.contrasts("train")  # says what is wrong
        return
    drawn = problem.task.contrasts("train", problem.data.n_contrast, problem.seed)
    written = [from_texts(_with_responses(c, problem), problem.encoder) for c in drawn]
    check_trainable(interventions, needs, problem.from_contrasts(written, interventions, needs))


def _check_optimizer(recipe: Recipe, interventions: InterventionSet) -> None:
    if not interventions.learned:
        return
    try:
        recipe.optimizer.build(interventions, recipe.trainer.max_steps)
    except (TypeError, ValueError) as error:  # torch's own
        raise ConfigError("the optimizer cannot be built from its settings", got=str(error)) from error


def _check_testing(
    problem: Problem, recipe: Recipe, interventions: InterventionSet, wrong_site: bool, parts: Parts
) -> Measurable:
    testable = measurable(problem, interventions, parts.metrics)
    if testable.interchange is not None and wrong_site:
        with suppress(CapabilityError):  # then that control is left out, and the metrics say so
            elsewhere(problem, recipe, parts.settings.controls.wrong_positions)
    return testable


def _with_responses(contrast: Contrast, problem: Problem) -> Contrast:
    """Stand-ins for the responses that the model writes later: the labels, a few times over."""
    task = problem.task
    words = (task.negative, task.positive) if isinstance(task, ConceptTask) else (" yes", " no")
    given = (contrast.negative_response, contrast.positive_response)
    filled = [g if g is not None else w * _WORDS for g, w in zip(given, words, strict=True)]
    return replace(contrast, negative_response=filled[0], positive_response=filled[1])


def _expected(tier: str) -> str:
    return "all, on disk where memory is short, or prefix where that is too" if tier == "auto" else tier
