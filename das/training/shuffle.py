"""Training data in which every label belongs to another pair."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from das.data.dataset import PairDataset
from das.data.examples import Example
from das.interventions.sets import InterventionSet
from das.training.problem import Problem
from das.types import CounterfactualPair, Site


def shuffled(
    problem: Problem, data: PairDataset, interventions: InterventionSet, seed: int, watch: Sequence[Site] = ()
) -> PairDataset:
    """The same bases and sources, with every label (and the run whose distribution it has) taken from another pair.

    The order is one cycle through all rows, so no row keeps its own label.
    """
    order, rows = _cycle(len(data), seed), data.examples
    mixed = [
        Example(_with_label(e.pair, rows[i].pair), rows[i].label_ids, e.numbers)
        for e, i in zip(rows, order, strict=True)
    ]
    return problem.pairs(mixed, interventions, data.labels, group=data.group, watch=watch)


def _cycle(n: int, seed: int) -> list[int]:
    """A random permutation without fixed points (for n > 1): row i gets the label of row order[i]."""
    shuffled_rows = list(range(n))
    random.Random(seed).shuffle(shuffled_rows)
    order = [0] * n
    for here, there in zip(shuffled_rows, [*shuffled_rows[1:], *shuffled_rows[:1]], strict=True):
        order[here] = there
    return order


def _with_label(pair: CounterfactualPair, other: CounterfactualPair) -> CounterfactualPair:
    entities = pair.entities | other.entities
    mixed = replace(pair, counterfactual_label=other.counterfactual_label, value=other.value, entities=entities)
    if other.target is None:
        return mixed
    return replace(mixed, sources={**pair.sources, "target": other.sources[other.target]}, target="target")
