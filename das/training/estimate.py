"""Estimators carried out: activations read, interventions fitted, placed where they are written."""

from __future__ import annotations

from collections.abc import Sequence

from das.estimators.base import Differentiating, Effects, Entries, Estimator, Examples, Found, SetEstimator
from das.interventions.sets import InterventionSet, Placement
from das.training.collect import collect, shuffle_labels, sketches
from das.training.gradients import collect_gradients
from das.training.problem import Problem
from das.training.trial import ValidationTrial
from das.types import SOURCE, Site


def estimated(
    problem: Problem, estimator: Estimator | SetEstimator, sites: Sequence[Site], seed: int, shuffled: bool = False
) -> InterventionSet:
    """Fit at these sites; with `shuffled` on concept values that were dealt out at random.

    On a model without weights stand-ins of the right width are used, so that everything else can be checked.

    Raises:
        CapabilityError: the task has no prompts of two concept values.
        PositionError, SiteError: the sites do not fit the prompts or the model.
    """
    if isinstance(estimator, SetEstimator):
        return _placed(_fit_set(problem, estimator, sites, seed, shuffled), problem)
    found = _read(problem, estimator, sites, "train", seed, shuffled)
    return _placed([(site, estimator.fit(x)) for site, x in zip(sites, found, strict=True)], problem)


def _fit_set(problem: Problem, estimator: SetEstimator, sites: Sequence[Site], seed: int, shuffled: bool) -> Entries:
    candidates = estimator.candidates(problem.view, sites)
    train, val = (_read(problem, estimator, candidates, split, seed, shuffled) for split in ("train", "val"))
    found = {site: Found(*both) for site, *both in zip(candidates, train, val, strict=True)}
    trial = (lambda entries: Effects((0.0, 1.0), 0.0)) if _sketched(problem) else ValidationTrial(problem)
    return estimator.fit_set(problem.view, found, trial)


def _read(
    problem: Problem,
    estimator: Estimator | SetEstimator,
    sites: Sequence[Site],
    split: str,
    seed: int,
    shuffled: bool,
) -> list[Examples]:
    """For every site what is read where it says its source is."""
    reads = [site.read(SOURCE) for site in sites]
    distinct = list(dict.fromkeys(reads))
    if _sketched(problem):
        widths = [problem.view.bind(read).width for read in distinct]
        found = dict(zip(distinct, sketches(distinct, widths), strict=True))
    elif isinstance(estimator, Differentiating):
        found = collect_gradients(problem, distinct, split, estimator.objective, seed, shuffled)
    else:
        found = collect(problem, distinct, split)
        found = shuffle_labels(found, seed) if shuffled else found
    problem.fitted[split] = max(len(x.prompt.unique()) for x in found.values())
    return [found[read] for read in reads]


def _sketched(problem: Problem) -> bool:
    return problem.device.type == "meta"


def _placed(entries: Entries, problem: Problem) -> InterventionSet:
    """Sets keep the written site of every entry, and read its sources where the site says."""
    placed = InterventionSet(
        [(Placement(site, {n: site.read(n) for n in x.edit.sources}), x) for site, x in entries]
    ).eval()
    return placed if _sketched(problem) else placed.to(problem.device)
