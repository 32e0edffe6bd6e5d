"""The interface of a metric: one value per row of a batch. The mean over rows is all the aggregation there is (of a
`Ratio`, one mean over another).

So no metric depends on how rows are batched or ordered, and every metric can be split into the pairs whose label the
interchange changes and those whose label it leaves alone: an edit that does nothing scores 0 on the first and 1 on the
second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MeanMetric

from das.batch import PairBatch
from das.errors import CapabilityError
from das.outputs import FrozenRun, Outputs
from das.shapes import Logits

PerRow = Float[Tensor, " batch"]


@runtime_checkable
class Metric(Protocol):
    """A callable object with the range of its values.

    Attributes:
        best, worst: values of a perfect and of a hopeless row.
    """

    best: float
    worst: float

    def __call__(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """One value per row."""
        ...


@runtime_checkable
class Comparing(Protocol):
    """A metric that looks at frozen runs beside the intervened one.

    Attributes:
        runs: which.
    """

    runs: frozenset[FrozenRun]


@runtime_checkable
class Valued(Protocol):
    """A metric that may look at the causal model's value of every pair.

    Attributes:
        values: whether it does; a metric without this attribute does not.
    """

    values: bool


@runtime_checkable
class Choosing(Protocol):
    """A metric that compares the labels of a label set.

    Attributes:
        choices: whether it does; a metric without this attribute does not.
    """

    choices: bool


@runtime_checkable
class Ratio(Protocol):
    """A metric whose mean is reported in units of another mean: no row is divided by a number that may be near 0."""

    def unit(self, outputs: Outputs, batch: PairBatch) -> PerRow:
        """Per row, what the mean of the metric is divided by the mean of."""
        ...


def runs_of(metrics: Mapping[str, Metric]) -> frozenset[FrozenRun]:
    """All frozen runs that any of them looks at."""
    return frozenset(run for metric in metrics.values() if isinstance(metric, Comparing) for run in metric.runs)


def applicable(metrics: Mapping[str, Metric], labels: Sequence[str] | None) -> dict[str, Metric]:
    """Those that say something of pairs with these labels.

    Raises:
        CapabilityError: none, because they compare the labels of a label set and there is none.
    """
    found = {n: m for n, m in metrics.items() if labels is not None or not (isinstance(m, Choosing) and m.choices)}
    if metrics and not found:
        raise CapabilityError(
            "all of the metrics compare the labels of a label set, and these pairs have none",
            got=", ".join(metrics), remedy="use a task with labels, or the metric iia_full_vocab",
        )  # fmt: skip
    return found


@final
class SplitMean:
    """Running means of metrics over all rows, over label-changed rows, and over label-unchanged rows.

    Args:
        metrics: reported name -> metric.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = dict(metrics)
        self._means: dict[str, MeanMetric] = {}
        self._units: dict[str, MeanMetric] = {}

    def update(self, outputs: Outputs, batch: PairBatch) -> None:
        """Add a batch."""
        for name, metric in self.metrics.items():
            self._split(self._means, name, metric(outputs, batch), batch)
            if isinstance(metric, Ratio):
                self._split(self._units, name, metric.unit(outputs, batch), batch)

    def compute(self) -> dict[str, float]:
        """Name, NAME_changed and NAME_unchanged; a split without rows is absent, one with a NaN is NaN, and so is a
        ratio to nothing.
        """
        found = {name: float(mean.compute()) for name, mean in self._means.items()}
        units = {name: float(unit.compute()) for name, unit in self._units.items()}
        return found | {name: found[name] / unit if unit else math.nan for name, unit in units.items()}

    def _split(self, means: dict[str, MeanMetric], name: str, values: PerRow, batch: PairBatch) -> None:
        changed = batch.changed.cpu()
        values = values.detach().double().cpu()
        for suffix, rows in (("", torch.ones_like(changed)), ("_changed", changed), ("_unchanged", ~changed)):
            if bool(rows.any()):
                made = means.setdefault(f"{name}{suffix}", MeanMetric(nan_strategy="disable").set_dtype(torch.float64))
                made.update(values[rows])


def need_choices(batch: PairBatch, metric: str) -> tuple[Tensor, Tensor]:
    """The label set's token ids (B, C) and the index of the counterfactual label (B,)."""
    if batch.choices is None or batch.counterfactual_choice is None:
        raise CapabilityError(
            f"metric {metric!r} compares the labels of a label set, and these pairs have none",
            got="pairs without choices",
            remedy="use a task with labels, or the metric iia_full_vocab",
        )
    return batch.choices, batch.counterfactual_choice


def label_logits(logits: Logits, batch: PairBatch, metric: str) -> tuple[PerRow, PerRow]:
    """Logits of the base label and of the counterfactual label at the first label position, in fp64.

    Raises:
        CapabilityError: without a label set.
    """
    choices, counterfactual = need_choices(batch, metric)
    assert batch.base_choice is not None
    scores = logits[:, 0].double().gather(1, choices)
    base, other = (scores.gather(1, i[:, None])[:, 0] for i in (batch.base_choice, counterfactual))
    return base, other
