"""Steering factors read off the data: a concept's two mean coordinates on training prompts (arXiv 2602.05234).

Read where the source is read in training, averaged over a prompt's positions, then over prompts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from das.artifacts.parts import Factors
from das.batch import Positions, TokenBatch
from das.data.collate import pad
from das.data.positions import parse_positions, resolve
from das.engine.engine import read
from das.errors import EmptySplitError
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.training.problem import Problem
from das.types import Prompt, Site


@torch.no_grad()
def factors_of(problem: Problem, interventions: InterventionSet, split: str = "train") -> tuple[Factors | None, ...]:
    """Per placement, the two means with their spreads; None for tasks whose concept has no two values."""
    task = problem.task
    if not (getattr(task, "positive", None) and getattr(task, "negative", None)):
        return (None,) * len(interventions)
    prompts = task.prompts(split, 2 * problem.data.n_contrast, problem.seed)
    sides = [[p for p, label in prompts if label == value] for value in (task.positive, task.negative)]
    for side, value in zip(sides, (task.positive, task.negative), strict=True):
        if not side:
            raise EmptySplitError(f"no {split} prompt of concept value {value!r}", got=f"{len(prompts)} prompts")
    found = []
    for placement, intervention in zip(interventions.placements, interventions, strict=True):
        site = next(iter(placement.reads.values()), placement.write)
        positive, negative = (mean_coordinates(problem, intervention, site, side) for side in sides)
        labels = (task.positive, task.negative)
        spread = [c.std(0, unbiased=False) for c in (positive, negative)]
        found.append(Factors(positive.mean(0), negative.mean(0), spread[0], spread[1], labels, min(map(len, sides))))
    return tuple(found)


@torch.no_grad()
def mean_coordinates(
    problem: Problem, intervention: Intervention, site: Site, prompts: list[Prompt]
) -> Float[Tensor, "prompts rank"]:
    """Coordinates of each prompt at a site, averaged over its positions there; fp32."""
    bound = problem.view.bind(site)
    spec = parse_positions(site.positions)
    out = []
    for start in range(0, len(prompts), problem.data.batch_size):
        encoded = list(problem.encoder.encode_all(prompts[start : start + problem.data.batch_size]))
        ids, mask = pad([list(e.ids) for e in encoded], problem.encoder.pad_id, "left")
        where = [[i for group in resolve(spec, e, 0) for i in group] for e in encoded]
        index, real = pad(where, 0, "right")
        shift = mask.long().argmax(1)
        columns = torch.where(real, index + shift[:, None], 0)
        tokens = TokenBatch(ids, mask).to(problem.device)
        [h] = read(problem.view, tokens, [(bound, Positions(columns, real).to(problem.device))])
        z = intervention.coordinates(h).float()
        weight = real.to(z)[..., None]
        out.append((z * weight).sum(1) / weight.sum(1))
    return torch.cat(out).cpu()
