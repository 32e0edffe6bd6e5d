"""Measuring learned interventions on held-out entities, beside their controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from das.batch import no_values
from das.data.dataset import PairDataset
from das.data.positions import parse_positions
from das.errors import CapabilityError, PositionError
from das.interventions.sets import InterventionSet
from das.metrics.base import Comparing, Metric, Valued, applicable, runs_of
from das.metrics.iia import IIA
from das.metrics.iia_full_vocab import IIAFullVocab
from das.training.controls.base import Subject
from das.training.controls.run import Made, measure_controls
from das.training.evaluate import evaluate, natively_correct
from das.training.interchange import interchange_of
from das.training.loop import TrainerSettings, prepared
from das.training.problem import Problem

#: Metrics reported when none are named.
DEFAULT_METRICS: Mapping[str, Metric] = {"iia": IIA(), "iia_full_vocab": IIAFullVocab()}

#: Why there are no interchange metrics, where there are none.
NOT_MEASURED = "iia/not_measured"
#: What was swapped, where that is not what the interventions do.
SWAPPED = "iia/swapped"


@dataclass(frozen=True)
class Measurable:
    """Interventions as an interchange with the pairs to measure them on; or why that is impossible.

    Attributes:
        interchange: None where there is none.
        test: the pairs, None with it.
        reason: why.
        swapped: what is swapped, in words, where the interventions themselves read no source.
        metrics: those that say something of these pairs.
        without: the others, and why not.
    """

    interchange: InterventionSet | None
    test: PairDataset | None
    reason: str | None = None
    swapped: str | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)


def measurable(
    problem: Problem, interventions: InterventionSet, metrics: Mapping[str, Metric] = DEFAULT_METRICS
) -> Measurable:
    """Look before training: positions, labels and lengths of the pairs, and what metrics compare with.

    Raises:
        DasError: the pairs do not fit sites that have sources, have no counterfactual run that a metric needs, or are
            such that no metric says anything of them.
    """
    try:
        interchange = interchange_of(interventions)
    except CapabilityError as error:
        return Measurable(None, None, str(error))
    late = [p.write.positions for p in interchange.placements if parse_positions(p.write.positions).kind == "generated"]
    if late and problem.task.labels is not None:
        return Measurable(None, None, "only response tokens are edited, and labels of one token come before them")
    try:
        test, _ = (problem.dataset(split, interchange) for split in ("test", "val"))
    except CapabilityError as error:  # the task has no interchange pairs
        return Measurable(None, None, str(error))
    except PositionError as error:
        if interchange is interventions:
            raise
        return Measurable(None, None, f"no source is read in training, and as an interchange {error}")
    some = applicable(metrics, test.labels)
    _check_metrics(some, test)
    why = "it compares the labels of a label set, and these pairs have none"
    without = {name: why for name in metrics if name not in some}
    return Measurable(interchange, test, None, _swapped(interventions, interchange), some, without)


def _swapped(interventions: InterventionSet, interchange: InterventionSet) -> str | None:
    """Said beside every number, because it says how much of the concept these coordinates carry, not what they do."""
    names = list(dict.fromkeys(x.name for x in interventions if not x.edit.sources))
    if interchange is interventions:
        return None
    return (
        f"{', '.join(names)} reads no source: here its coordinates are swapped between two prompts, which it never "
        "does itself (as CausalGym measures, arXiv 2402.12560); this does not rank it beside methods that interchange"
    )


def measure(
    subject: Subject,
    test: PairDataset,
    made: Made,
    metrics: Mapping[str, Metric],
    trainer: TrainerSettings,
) -> dict[str, Any]:
    """Metrics on the test split beside all controls, on the validation split, and the model's own accuracy."""
    problem, learned = subject.problem, subject.learned
    engine, size = problem.engine(learned), subject.problem.data.batch_size
    runs = runs_of(metrics)
    ready = prepared(engine, test, trainer, runs)
    numbers: dict[str, Any] = dict(evaluate(ready, test, learned, metrics, size))
    numbers |= measure_controls(subject, made, ready, test, metrics)
    val = problem.dataset("val", learned)
    on_val = evaluate(prepared(engine, val, trainer, runs), val, learned, metrics, size)
    numbers |= {f"val/{name}": value for name, value in on_val.items()}
    if test.labels is not None:
        numbers["model/accuracy"] = float(natively_correct(engine, test, size).double().mean())
        numbers["data/labels"] = ", ".join(label.strip() for label in test.labels)
    for one in made.get("wrong_site", ()):
        if one is not None:
            numbers["control/wrong_site/positions"] = one.placements[0].write.positions
    numbers |= {f"data/dropped/test/{why}": n for why, n in test.dropped.items()}
    return numbers | {"engine/test_tier": ready.tier, "data/test_pairs": len(test)}


def _check_metrics(metrics: Mapping[str, Metric], test: PairDataset) -> None:
    for name, metric in metrics.items():
        if isinstance(metric, Valued) and metric.values and any(pair.value is None for pair in test.pairs):
            raise no_values(f"metric {name!r}")
        needy = isinstance(metric, Comparing) and "target" in metric.runs
        if needy and any(pair.target is None for pair in test.pairs):
            raise CapabilityError(
                f"metric {name!r} compares with the counterfactual run's distribution, and the task's pairs have none",
                got=type(metric).__name__, remedy="leave it out, or use pairs whose source is the counterfactual",
            )  # fmt: skip
