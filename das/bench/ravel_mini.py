"""ravel_mini (T5): MDAS sets one attribute of a city and leaves the others; DAS breaks them (arXiv 2402.17700).

Model and task as in `das.models.recipes.ravel_mini` and `das.tasks.ravel_mini`; the site is the input of block 0 at the
city's token, 16 of 64 directions, held-out cities. Cause, Isolate and Disentangle are the protocol's: accuracies of
every attribute asked for, template and kind of source by themselves (`Ravel.cells`), then means of these
(`das.metrics.aggregate.disentangle`). MDAS is `das` trained by `cause_isolate`; DAS sees its cause pairs only. Also
measured: DAS of half the rank, which is better. About 3 minutes per seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import final

from das.bench.base import Gate
from das.bench.fits import UNTRAINED, fitted
from das.engine.tiers import prepare
from das.interventions.sets import InterventionSet
from das.methods import method
from das.metrics.aggregate.disentangle import Disentangled, disentangled, over_attributes
from das.metrics.iia import IIA
from das.models.load import load_model
from das.objectives.cause_isolate import CauseIsolate
from das.tasks.ravel import Ravel
from das.tasks.ravel_mini import ravel_mini
from das.training.controls.base import Subject, control
from das.training.evaluate import evaluate
from das.training.fit import Fit
from das.training.problem import Problem
from das.types import Site

RANK, LAYER, COMPONENT = 16, 0, "block_input"
#: Attribute -> the least Disentangle of MDAS.
BARS = {"Country": 0.68, "Continent": 0.88}
#: Test pairs of every attribute asked for, template and kind of source.
PER_TASK = 48


@final
class RavelMini:
    """The benchmark."""

    title = "attributes of cities: set one, leave the others"

    def run(self, seed: int) -> list[Gate]:
        """MDAS beside DAS of two ranks, the controls and another token, for two attributes."""
        gates: list[Gate] = []
        for target, bar in BARS.items():
            problem = Problem(load_model("ravel_mini"), ravel_mini([target]))
            found = _fitted(target, seed)
            gates.append(Gate(f"{target}: model's accuracy", found.metrics["model/accuracy"], "== 1"))
            subject = Subject(problem, _placed(problem, found))
            controls = {name: control(name).make(subject) for name in UNTRAINED}
            scores = scored(problem, subject.learned, {"MDAS": [subject.learned], **controls}, seed)
            gates += _scores(f"{target}: MDAS k={RANK}", scores["MDAS"], f">= {bar}")
            for rank in (RANK, RANK // 2):
                das = _scored(problem, _fitted(target, seed, rank=rank, isolate=0.0), seed)
                gates += _scores(f"{target}: DAS k={rank}", das)
                margin = scores["MDAS"].disentangle - das.disentangle
                gates.append(Gate(f"{target}: MDAS k={RANK} over DAS k={rank}", margin, ">= 0.1"))
            for name, exact in (("no_intervention", "== 0.5"), ("full_vector", "== 0.5"), ("random_subspace", "")):
                gates += _scores(f"{target}: {UNTRAINED[name]}", scores[name], exact)
            elsewhere = _scored(problem, _fitted(target, seed, positions="last"), seed)
            gates += _scores(f"{target}: MDAS k={RANK} at the last token", elsewhere, "<= 0.57")
        return gates


def scored(
    problem: Problem,
    placed: InterventionSet,
    asked: Mapping[str, Sequence[InterventionSet | None]],
    seed: int,
) -> dict[str, Disentangled]:
    """Scores on held-out entities, means over variants.

    Args:
        problem: a RAVEL task, whose first variable is the attribute to be set.
        placed: has the placements of all variants.
        asked: name -> variants; None is the unmodified model.
        seed: of the pairs.
    """
    task = problem.task
    assert isinstance(task, Ravel)
    accuracies: dict[str, list[dict[str, dict[str, float]]]] = {
        name: [{attribute: {} for attribute in task.attributes} for _ in variants] for name, variants in asked.items()
    }
    for attribute, tasks in task.cells("test", PER_TASK, seed).items():
        for cell, pairs in tasks.items():
            data = problem.pairs(pairs, placed, task.labels)
            ready = prepare(problem.engine(placed), data)
            for name, variants in asked.items():
                for one, kept in zip(variants, accuracies[name], strict=True):
                    kept[attribute][cell] = evaluate(ready, data, one, {"iia": IIA()})["iia"]
    target = task.variables[0]
    return {name: over_attributes([disentangled(target, one) for one in each]) for name, each in accuracies.items()}


def _scored(problem: Problem, found: Fit, seed: int) -> Disentangled:
    placed = _placed(problem, found)
    return scored(problem, placed, {"it": [placed]}, seed)["it"]


def _placed(problem: Problem, found: Fit) -> InterventionSet:
    return deepcopy(found.subspace.interventions).to(problem.device)


def _fitted(target: str, seed: int, *, rank: int = RANK, isolate: float = 1.0, positions: str = "span:entity") -> Fit:
    return fitted(
        load_model("ravel_mini"), ravel_mini([target]), method("das", rank=rank),
        Site(LAYER, COMPONENT, positions), seed, steps=300, batch=64, lr=0.01, n_train=2048, n_test=512,
        objective=CauseIsolate(isolate=isolate),
    )  # fmt: skip


def _scores(name: str, scored: Disentangled, bar: str = "") -> list[Gate]:
    return [
        Gate(f"{name}: Cause", scored.cause),
        Gate(f"{name}: Isolate", scored.isolate),
        Gate(f"{name}: Disentangle", scored.disentangle, bar),
    ]


BENCH = RavelMini()
