"""Making and measuring controls."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from das.data.dataset import PairDataset
from das.engine.tiers import Prepared, prepare
from das.errors import DasError, PositionError
from das.interventions.sets import InterventionSet
from das.metrics.base import Metric
from das.training.controls.base import Subject, control, names
from das.training.evaluate import evaluate

logger = logging.getLogger("das.controls")

Numbers = dict[str, Any]
Made = dict[str, Sequence[InterventionSet | None]]


@dataclass(frozen=True)
class ControlSettings:
    """Which controls to run.

    Attributes:
        names: any of the files of `das/training/controls`.
        wrong_positions: where the wrong-site control reads and writes; where that shares a token with the right site,
            the first prompt token is used instead.
    """

    names: tuple[str, ...] = field(default_factory=names)
    wrong_positions: str = "last"

    def __post_init__(self) -> None:
        for name in self.names:
            control(name)


def make_controls(
    subject: Subject, wanted: Sequence[str]
) -> tuple[dict[str, Sequence[InterventionSet | None]], dict[str, str]]:
    """The controls that can be made for these interventions, and why the others cannot."""
    made: Made = {}
    without: dict[str, str] = {}
    for name in wanted:
        logger.info("control %s: %s", name, control(name).meaning)
        try:
            made[name] = control(name).make(subject)
        except DasError as error:  # whatever is wrong with a control, what was learned is still reported
            without[name] = str(error)
            logger.info("control %s left out: %s", name, error)
    return made, without


def measure_controls(
    subject: Subject, made: Made, ready: Prepared, data: PairDataset, metrics: Mapping[str, Metric]
) -> Numbers:
    """ "control/NAME/METRIC" for every control made, all on the rows that `ready` was prepared on."""
    out: Numbers = {}
    for name, variants in made.items():
        try:
            rows = [_measured(subject, one, ready, data, metrics) for one in variants]
        except PositionError as error:
            out[f"control/{name}/not_measured"] = str(error)
            logger.info("control %s left out: %s", name, error)
            continue
        for key in rows[0]:
            out[f"control/{name}/{key}"] = sum(row[key] for row in rows) / len(rows)
    return out


def _measured(
    subject: Subject, one: InterventionSet | None, ready: Prepared, data: PairDataset, metrics: Mapping[str, Metric]
) -> Numbers:
    size = subject.problem.data.batch_size
    if one is None or one.placements == subject.learned.placements:
        return evaluate(ready, data, one, metrics, size)
    there = subject.problem.moved(data, one)
    return evaluate(
        prepare(subject.problem.engine(one), there, runs=ready.runs, tier="hooks"), there, one, metrics, size
    )
