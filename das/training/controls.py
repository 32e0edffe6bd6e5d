"""What a learned subspace has to be compared with. A number without these beside it means nothing.

no_intervention    the unmodified model
random_subspace    mean over draws of a random subspace of the same rank at the same site
full_vector        every neuron of the site swapped: the ceiling of what any subspace there can do
wrong_site         the same method trained and measured at other positions
shuffled_labels    the same method trained with each pair's label (or target distribution) taken from another pair, so
                   that neither the base nor what is read tells what must follow; measured on the true pairs
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from das.data.dataset import PairDataset
from das.data.rows import Example
from das.engine.tiers import Prepared, prepare
from das.errors import UnknownChoiceError
from das.interventions.full_vector import full_vector
from das.interventions.random_subspace import random_subspace
from das.interventions.sets import InterventionSet
from das.metrics.base import Metric
from das.objectives.base import Objective
from das.training.evaluate import evaluate
from das.training.loop import TrainerSettings, train
from das.training.optim import AdamW
from das.training.problem import Builder, Problem, moved
from das.types import CounterfactualPair, Site

UNTRAINED = ("no_intervention", "random_subspace", "full_vector")
TRAINED = ("wrong_site", "shuffled_labels")
CONTROLS = (*UNTRAINED, *TRAINED)
RANDOM_DRAWS = 5

Numbers = dict[str, float]


@dataclass(frozen=True)
class ControlSettings:
    """Which controls to run.

    Attributes:
        names: any of no_intervention, random_subspace, full_vector, wrong_site, shuffled_labels.
        wrong_positions: where the wrong-site control reads and writes; where that is the right site already, the
            first prompt token is used instead.
    """

    names: tuple[str, ...] = CONTROLS
    wrong_positions: str = "last"

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in CONTROLS:
                raise UnknownChoiceError("control", name, CONTROLS)

    def wrong_sites(self, sites: Sequence[Site]) -> list[Site]:
        """The sites of the wrong-site control."""
        taken = any(self.wrong_positions in (s.positions, s.read_positions) for s in sites)
        return moved(sites, "first" if taken else self.wrong_positions)


@dataclass(frozen=True)
class Recipe:
    """How the method was trained, so that controls are trained the same way."""

    builder: Builder
    objective: Objective
    optimizer: AdamW
    settings: TrainerSettings
    seed: int


def train_controls(
    problem: Problem, sites: Sequence[Site], recipe: Recipe, settings: ControlSettings
) -> dict[str, InterventionSet]:
    """The trained controls asked for, by name."""
    trained = {}
    quiet = replace(recipe.settings, progress=False, val_every=0)
    for name in (n for n in TRAINED if n in settings.names):
        where = settings.wrong_sites(sites) if name == "wrong_site" else sites
        interventions = problem.interventions(where, recipe.builder, recipe.seed)
        if not interventions.learned:
            continue
        data = problem.dataset("train", interventions, interventions.pairing)
        if name == "shuffled_labels":
            data = shuffled(problem, data, interventions, recipe.seed)
        engine = problem.engine(interventions)
        train(interventions, engine, data, recipe.objective, recipe.optimizer, quiet, seed=recipe.seed)
        trained[name] = interventions.requires_grad_(False)
    return trained


def shuffled(problem: Problem, data: PairDataset, interventions: InterventionSet, seed: int) -> PairDataset:
    """The same bases and sources, with every label (and the run whose distribution it has) taken from another pair.

    So what must follow depends neither on the base nor on what is read from the source.
    """
    order = list(range(len(data)))
    random.Random(seed).shuffle(order)
    rows = data.examples
    mixed = [Example(_with_label(e.pair, rows[i].pair), rows[i].label_ids) for e, i in zip(rows, order, strict=True)]
    return problem.pairs(mixed, interventions, data.labels, group=data.group)


def _with_label(pair: CounterfactualPair, other: CounterfactualPair) -> CounterfactualPair:
    entities = pair.entities | other.entities
    if other.target is None:
        return replace(pair, counterfactual_label=other.counterfactual_label, entities=entities)
    return replace(
        pair, counterfactual_label=other.counterfactual_label, entities=entities,
        sources={**pair.sources, "target": other.sources[other.target]}, target="target",
    )  # fmt: skip


def measure_controls(
    problem: Problem,
    interventions: InterventionSet,
    ready: Prepared,
    data: PairDataset,
    trained: Mapping[str, InterventionSet],
    metrics: Mapping[str, Metric],
    settings: ControlSettings,
) -> Numbers:
    """ "control/NAME/METRIC" for every control asked for, on the data that `ready` was prepared on."""
    out: Numbers = {}

    def add(name: str, numbers: Mapping[str, float]) -> None:
        out.update({f"control/{name}/{key}": value for key, value in numbers.items()})

    size = problem.data.batch_size
    sites = [p.write for p in interventions.placements]
    if "no_intervention" in settings.names:
        add("no_intervention", evaluate(ready, data, None, metrics, size))
    if "full_vector" in settings.names:
        add("full_vector", evaluate(ready, data, problem.interventions(sites, full_vector), metrics, size))
    if "random_subspace" in settings.names:
        add("random_subspace", _random(problem, interventions, ready, data, metrics))
    if "shuffled_labels" in trained:
        add("shuffled_labels", evaluate(ready, data, trained["shuffled_labels"], metrics, size))
    if "wrong_site" in trained:
        wrong = trained["wrong_site"]
        there = problem.dataset("test", wrong)
        elsewhere = prepare(problem.engine(wrong), there, tier="hooks")
        add("wrong_site", evaluate(elsewhere, there, wrong, metrics, size))
    return out


def _random(
    problem: Problem, like: InterventionSet, ready: Prepared, data: PairDataset, metrics: Mapping[str, Metric]
) -> Numbers:
    total: Numbers = {}
    for draw in range(RANDOM_DRAWS):
        entries = [
            (placement.write, random_subspace(x.width, x.rank, seed=draw * len(like) + i))
            for i, (placement, x) in enumerate(zip(like.placements, like, strict=True))
        ]
        drawn = InterventionSet(entries).to(problem.device)
        numbers = evaluate(ready, data, drawn, metrics, problem.data.batch_size)
        total = {k: total.get(k, 0.0) + v / RANDOM_DRAWS for k, v in numbers.items()}
    return total
