"""Steering factors read off the data: where a concept's two values lie, on training prompts (arXiv 2602.05234).

Read where the source is read in training. Means are over prompts, of a prompt's mean over the positions read. Where
the positions go on behind the prompt ("all", "generated", "from:N"), prompts and responses are those of the task's
contrasts; a task without any is read in its prompts alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import Positions, TokenBatch
from das.data.collate import pad
from das.data.positions import parse_positions, resolve
from das.engine.read import read
from das.errors import CapabilityError, DasError, EmptySplitError
from das.estimators.base import NEGATIVE, POSITIVE
from das.factors import Factors, deviation_between
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet, Placement
from das.tasks.base import ConceptTask, ContrastTask
from das.tasks.sieve import Sieve
from das.training.collect import check_fits, labelled
from das.training.problem import Problem
from das.types import Prompt, Site

log = logging.getLogger("das.training")

#: A prompt and the tokens of its response, if one is read.
Row = tuple[Prompt, tuple[int, ...]]


@torch.no_grad()
def factors_of(problem: Problem, interventions: InterventionSet, split: str = "train") -> tuple[Factors | None, ...]:
    """Per placement; None for tasks whose concept has no two values, and where coordinates need a conditioner.

    None also where the task's prompts do not have these positions, or sources are read at several, which is logged:
    what was learned is worth keeping.
    """
    task = problem.task
    if not isinstance(task, ConceptTask):
        return (None,) * len(interventions)

    @cache
    def sides(written: bool) -> list[list[Row]]:
        return _written(problem, split) if written else _prompts(problem, task, split)

    found: list[Factors | None] = []
    for placement, x in zip(interventions.placements, interventions, strict=True):
        known = None
        if x.conditioner is None:
            try:
                site = _read(placement)
                written = parse_positions(site.positions).beyond_prompt and isinstance(task, ContrastTask)
                known = _factors(problem, x, site, sides(written), (task.positive, task.negative))
            except DasError as error:
                log.warning("no factors at %s: %s", placement.write, error)
        found.append(known)
    return tuple(found)


def _read(placement: Placement) -> Site:
    """Where the coordinates of a concept value are."""
    sites = set(placement.reads.values()) or {placement.write.read()}
    if len(sites) > 1:
        raise CapabilityError(
            "sources are read at several places, so coordinates have no one place to be averaged at",
            got=", ".join(sorted(map(str, sites))), remedy="steer with value=..., or read all sources at one place",
        )  # fmt: skip
    return sites.pop()


def _factors(
    problem: Problem, x: Intervention, site: Site, sides: Sequence[Sequence[Row]], labels: tuple[str, str]
) -> Factors:
    if not problem.data.strict:
        sides = _usable(problem, site, sides)
    (positive, largest), (negative, _) = (coordinates_of(problem, x, site, side) for side in sides)
    return Factors(
        positive.mean(0), negative.mean(0), positive.std(0, unbiased=False), negative.std(0, unbiased=False),
        largest.amax(0).relu(), labels, min(map(len, sides)), deviation_between(positive, negative),
    )  # fmt: skip


def _usable(problem: Problem, site: Site, sides: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """The prompts, one of each value, that both have the site's positions and fit the context."""
    spec = parse_positions(site.positions)

    def fitting(both: tuple[Row, ...]) -> tuple[Row, ...]:
        for prompt, response in both:
            check_fits(problem, prompt, len(response), [spec])
        return both

    kept = Sieve(strict=False).sift(zip(*sides, strict=False), fitting, lambda both: repr(both[0][0].text))
    return [list(side) for side in zip(*kept, strict=True)]


def _prompts(problem: Problem, task: ConceptTask, split: str) -> list[list[Row]]:
    """Prompts of the positive and of the negative value."""
    prompts = task.prompts(split, 2 * problem.data.n_contrast, problem.seed)
    sides: list[list[Row]] = []
    for value in (task.positive, task.negative):
        sides.append([(p, ()) for p, label in prompts if label == value])
        if not sides[-1]:
            raise EmptySplitError(f"no {split} prompt of concept value {value!r}", got=f"{len(prompts)} prompts")
    return sides


def _written(problem: Problem, split: str) -> list[list[Row]]:
    """Both sides of the task's contrasts, with responses."""
    rows = labelled(problem, split, responses=True)
    return [[(row.prompt, row.response) for row in rows if row.label == value] for value in (POSITIVE, NEGATIVE)]


@torch.no_grad()
def coordinates_of(
    problem: Problem, x: Intervention, site: Site, rows: Sequence[Row]
) -> tuple[Float[Tensor, "prompts rank"], Float[Tensor, "prompts rank"]]:
    """Mean and largest coordinates of each prompt over its positions at a site; fp32."""
    bound, spec = problem.view.bind(site), parse_positions(site.positions)
    means, largest = [], []
    for start in range(0, len(rows), problem.data.batch_size):
        chunk = rows[start : start + problem.data.batch_size]
        encoded = list(problem.encoder.encode_all([prompt for prompt, _ in chunk]))
        responses = [response for _, response in chunk]
        ids, mask = pad([[*e.ids, *r] for e, r in zip(encoded, responses, strict=True)], problem.encoder.pad_id, "left")
        where = [
            [i for group in resolve(spec, e, len(r)) for i in group] for e, r in zip(encoded, responses, strict=True)
        ]
        index, real = pad(where, 0, "right")
        shift = mask.long().argmax(1)
        columns = torch.where(real, index + shift[:, None], 0)
        tokens = TokenBatch(ids, mask).to(problem.device)
        [h] = read(problem.view, tokens, [(bound, Positions(columns, real).to(problem.device))])
        z = x.coordinates(h).float()
        seen = real.to(z.device)[..., None]
        means.append(torch.where(seen, z, 0.0).sum(1) / seen.sum(1))
        largest.append(torch.where(seen, z, -torch.inf).amax(1))
    return torch.cat(means).cpu(), torch.cat(largest).cpu()
