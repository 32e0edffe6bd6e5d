"""Steering factors read off the data: where a concept's two values lie, on training prompts (arXiv 2602.05234).

Read where the source is read in training. Means are over prompts, of a prompt's mean over the positions read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import Positions, TokenBatch
from das.data.collate import pad
from das.data.positions import parse_positions, resolve
from das.engine.engine import read
from das.errors import EmptySplitError
from das.factors import Factors
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.tasks.base import ConceptTask
from das.training.problem import Problem
from das.types import Prompt, Site


@torch.no_grad()
def factors_of(problem: Problem, interventions: InterventionSet, split: str = "train") -> tuple[Factors | None, ...]:
    """Per placement; None for tasks whose concept has no two values, and where coordinates need a conditioner."""
    task = problem.task
    if not isinstance(task, ConceptTask):
        return (None,) * len(interventions)
    labels = (task.positive, task.negative)
    prompts = task.prompts(split, 2 * problem.data.n_contrast, problem.seed)
    sides = [[p for p, label in prompts if label == value] for value in labels]
    for side, value in zip(sides, labels, strict=True):
        if not side:
            raise EmptySplitError(f"no {split} prompt of concept value {value!r}", got=f"{len(prompts)} prompts")
    return tuple(
        None
        if x.conditioner is not None
        else _factors(problem, x, next(iter(p.reads.values()), p.write.read()), sides, labels)
        for p, x in zip(interventions.placements, interventions, strict=True)
    )


def _factors(
    problem: Problem, x: Intervention, site: Site, sides: Sequence[Sequence[Prompt]], labels: tuple[str, str]
) -> Factors:
    (positive, largest), (negative, _) = (coordinates_of(problem, x, site, side) for side in sides)
    return Factors(
        positive.mean(0), negative.mean(0), positive.std(0, unbiased=False), negative.std(0, unbiased=False),
        largest.amax(0), labels, min(map(len, sides)),
    )  # fmt: skip


@torch.no_grad()
def coordinates_of(
    problem: Problem, x: Intervention, site: Site, prompts: Sequence[Prompt]
) -> tuple[Float[Tensor, "prompts rank"], Float[Tensor, "prompts rank"]]:
    """Mean and largest coordinates of each prompt over its positions at a site; fp32."""
    bound, spec = problem.view.bind(site), parse_positions(site.positions)
    means, largest = [], []
    for start in range(0, len(prompts), problem.data.batch_size):
        encoded = list(problem.encoder.encode_all(prompts[start : start + problem.data.batch_size]))
        ids, mask = pad([list(e.ids) for e in encoded], problem.encoder.pad_id, "left")
        where = [[i for group in resolve(spec, e, 0) for i in group] for e in encoded]
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
