"""The interface of a metric: one value per row of a batch. The mean over rows is all the aggregation there is.

So no metric depends on how rows are batched or ordered, and every metric can be split into the pairs whose label the
interchange changes and those whose label it leaves alone: an edit that does nothing scores 0 on the first and 1 on the
second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import MeanMetric

from das.batch import PairBatch
from das.errors import CapabilityError
from das.outputs import Outputs

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


@final
class SplitMean:
    """Running means of metrics over all rows, over label-changed rows, and over label-unchanged rows.

    Args:
        metrics: reported name -> metric.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = dict(metrics)
        self._means: dict[str, MeanMetric] = {}

    def update(self, outputs: Outputs, batch: PairBatch) -> None:
        """Add a batch."""
        for name, metric in self.metrics.items():
            values = metric(outputs, batch).detach().double().cpu()
            changed = batch.changed.cpu()
            self._add(name, values, torch.ones_like(changed))
            self._add(f"{name}_changed", values, changed)
            self._add(f"{name}_unchanged", values, ~changed)

    def compute(self) -> dict[str, float]:
        """Name, NAME_changed and NAME_unchanged; a split without rows is absent, one with a NaN is NaN."""
        return {name: float(mean.compute()) for name, mean in self._means.items()}

    def _add(self, name: str, values: PerRow, rows: Bool[Tensor, " batch"]) -> None:
        if bool(rows.any()):
            mean = self._means.setdefault(name, MeanMetric(nan_strategy="disable").set_dtype(torch.float64))
            mean.update(values[rows])


def need_choices(batch: PairBatch, metric: str) -> tuple[Tensor, Tensor]:
    """The label set's token ids (B, C) and the index of the counterfactual label (B,)."""
    if batch.choices is None or batch.counterfactual_choice is None:
        raise CapabilityError(
            f"metric {metric!r} compares the labels of a label set, and these pairs have none",
            got="pairs without choices",
            remedy="use a task with labels, or the metric iia_full_vocab",
        )
    return batch.choices, batch.counterfactual_choice
