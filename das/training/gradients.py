"""Gradients of an objective with respect to activations of the unmodified model, for estimators that ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never, final

import torch
from torch import Tensor

from das.batch import PairBatch
from das.context import Context
from das.data.dataset import PairDataset
from das.edits.base import Edit, EditResult
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.featurizers.identity import Identity
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet, Placement
from das.objectives.base import Objective, with_factors
from das.shapes import Activation, Coordinates, SourceCoordinates
from das.tasks.base import ConceptTask
from das.training.collect import joined
from das.training.evaluate import batches
from das.training.problem import Problem
from das.training.shuffle import shuffled as shuffle
from das.types import Rows, Site


@final
class _Still(Edit):
    """Adds nothing, and hands out both the activation and the nothing, whose gradient is the activation's."""

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """z + 0."""
        nothing = torch.zeros_like(z, requires_grad=True)
        return z + nothing, {"nothing": nothing, "activation": h.detach()}

    def params(self) -> dict[str, Any]:
        """Constructor arguments: none."""
        return {}


def collect_gradients(
    problem: Problem, sites: Sequence[Site], split: str, objective: Objective, seed: int, shuffled: bool = False
) -> dict[Site, Examples]:
    """Activations and gradients at every site, one row per token its positions select in the base of a row.

    Gradients are of the objective summed over what it counts, so they do not depend on how rows are batched. The
    concept value of a row is that of its base.

    Args:
        problem: model, task, data.
        sites: where.
        split: of which rows.
        objective: what is differentiated; its rows and frozen runs are used.
        seed: of the shuffling.
        shuffled: give every row the label of another one (a control).

    Raises:
        CapabilityError: the task has no such rows, or the objective cannot be computed on them.
        PositionError: a prompt does not have these positions.
    """
    needs, view = objective.needs, problem.view
    still = InterventionSet(
        [(Placement(site, {}), Intervention(Identity(view.bind(site).width), _Still(), steering={})) for site in sites]
    )
    data = problem.dataset(split, still, needs)
    label, pair = _numbered(problem, data, needs.rows)
    if shuffled:
        data = shuffle(problem, data, still, seed, needs.watch)
    engine = problem.engine(still, needs.watch)
    found: list[list[Examples]] = [[] for _ in sites]
    with torch.enable_grad():
        for batch in batches(data, problem.data.batch_size, engine):
            batch = with_factors(objective, batch)
            outputs = engine.outputs(batch, still, engine.sources(batch, needs.runs))
            loss = objective(outputs, batch)
            leaves = [aux["nothing"] for aux in outputs.aux]
            gradients = torch.autograd.grad(loss.total * loss.count, leaves)
            for i, gradient in enumerate(gradients):
                found[i].append(_examples(batch, i, outputs.aux[i]["activation"], gradient, label, pair))
    return {site: joined(parts) for site, parts in zip(sites, found, strict=True)}


def _numbered(problem: Problem, data: PairDataset, rows: Rows) -> tuple[Tensor, Tensor]:
    """Per row the concept value of its base, and the number of the pair or contrast it was made of."""
    number = torch.arange(len(data))
    match rows:
        case "pairs":
            positive = problem.task.positive if isinstance(problem.task, ConceptTask) else None
            label = torch.tensor([POSITIVE if p.base_label == positive else NEGATIVE for p in data.pairs])
            return label, number
        case "contrasts":
            return torch.where(number % 2 == 1, POSITIVE, NEGATIVE), number // 2
        case "contrast_preferences":
            return torch.where(number % 4 >= 2, POSITIVE, NEGATIVE), number // 4
        case "preferences":
            return torch.full_like(number, NEGATIVE), number // 4
        case "elicit":
            return torch.full_like(number, NEGATIVE), number
    assert_never(rows)


def _examples(batch: PairBatch, i: int, h: Tensor, gradient: Tensor, label: Tensor, pair: Tensor) -> Examples:
    where = batch.writes[i]
    row, slot = where.mask.nonzero(as_tuple=True)
    number, position = batch.rows[row].cpu(), batch.base.position_ids[row, where.index[row, slot]].cpu()
    kept, slope = (values.detach()[row, slot].float().cpu() for values in (h, gradient))
    return Examples(kept, label[number], number, pair[number], position, slope)
