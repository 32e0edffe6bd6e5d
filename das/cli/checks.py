"""What can be known to be wrong before weights are loaded: sites, ranks, positions, labels, lengths, splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from das.cli.build import ModelSettings, Parts, meta, tokenizer
from das.data.positions import parse_positions
from das.engine.engine import Engine
from das.engine.tiers import TIERS, why_not_resumable
from das.errors import CapabilityError, UnknownChoiceError
from das.interventions.sets import InterventionSet
from das.models.families import ModelView
from das.training.problem import Problem
from das.types import Contrast, Site

#: Pairs per split that are looked at.
SAMPLE = 64
_WORDS = 4


@dataclass(frozen=True)
class Bound:
    """A configuration bound to a model without weights.

    Attributes:
        problem: task, tokenizer and data settings on that model.
        interventions: placed; freshly initialised.
        paths: the module each intervention writes to.
        tier: the engine tier to expect, with the reason.
    """

    problem: Problem
    interventions: InterventionSet
    paths: tuple[str, ...]
    tier: str


def check(parts: Parts, chosen: ModelSettings, steering: Any = None) -> Bound:
    """Bind everything.

    Raises:
        DasError: whatever would go wrong later because of the configuration.
    """
    if parts.settings.trainer.tier not in (*TIERS, "auto"):
        raise UnknownChoiceError("engine tier", parts.settings.trainer.tier, (*TIERS, "auto"))
    skeleton = meta(chosen)
    view = ModelView(skeleton)
    interventions = _placed(view, parts, parts.sites)
    engine = Engine(skeleton, interventions.placements)
    wrong = _placed(view, parts, parts.settings.controls.wrong_sites(parts.sites))
    for text in (parts.settings.controls.wrong_positions, getattr(steering, "positions", None)):
        if text is not None:
            parse_positions(text)
    problem = Problem(skeleton, parts.task, tokenizer(chosen), parts.settings.data, parts.settings.seed)
    _check_data(problem, parts, interventions)
    if "wrong_site" in parts.settings.controls.names:
        _check_split(problem, parts, wrong, "test")
    obstacle = why_not_resumable(engine)
    tier = f"hooks ({obstacle})" if obstacle else _expected(parts.settings.trainer.tier)
    paths = tuple(view.bind(site).path for site in parts.sites)
    return Bound(problem, interventions, paths, tier)


def _placed(view: ModelView, parts: Parts, sites: Sequence[Site]) -> InterventionSet:
    return InterventionSet([(site, parts.builder(view.bind(site).width)) for site in sites])


def _check_data(problem: Problem, parts: Parts, interventions: InterventionSet) -> None:
    for split in ("train", "val", "test"):
        _check_split(problem, parts, interventions, split)
    if interventions.pairing == "contrast":
        count = min(SAMPLE, parts.settings.data.n_contrast)
        contrasts = [_with_responses(c, parts) for c in parts.task.contrasts("train", count, parts.settings.seed)]
        problem.pairs(contrasts, interventions, None)


def _check_split(problem: Problem, parts: Parts, interventions: InterventionSet, split: str) -> None:
    data = parts.settings.data
    count = {"train": data.n_train, "val": data.n_val, "test": data.n_test}[split]
    pairs = parts.task.pairs(split, min(SAMPLE, count), parts.settings.seed)
    problem.pairs(pairs, interventions, parts.task.labels)
    trained_here = split == "train" and interventions.pairing == "interchange" and interventions.learned
    if trained_here and parts.objective.needs_target and any(pair.target is None for pair in pairs):
        raise CapabilityError(
            "this objective matches the counterfactual run's distribution, and the task's pairs have none",
            got=f"{type(parts.objective).__name__} on {parts.task.name}",
            remedy="use objective=counterfactual_ce",
        )


def _with_responses(contrast: Contrast, parts: Parts) -> Contrast:
    """Stand-ins for the responses that the model writes later: the labels, a few times over."""
    negative, positive = parts.task.negative * _WORDS, parts.task.positive * _WORDS
    return replace(contrast, negative_response=negative, positive_response=positive)


def _expected(tier: str) -> str:
    return "all, or prefix where memory is short" if tier == "auto" else tier
