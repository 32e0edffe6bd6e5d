"""Measuring interventions on a dataset, split by whether the label changes; and what the model does natively."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Bool
from torch import Tensor

from das.batch import PairBatch
from das.data.dataset import PairDataset
from das.engine.engine import Engine
from das.engine.tiers import Prepared
from das.interventions.sets import InterventionSet
from das.metrics.base import Metric, SplitMean, need_choices
from das.outputs import Outputs


@torch.no_grad()
def evaluate(
    prepared: Prepared,
    data: PairDataset,
    interventions: InterventionSet | None,
    metrics: Mapping[str, Metric],
    batch_size: int = 64,
) -> dict[str, float]:
    """Every metric over all rows (NAME), the label-changed (NAME_changed) and the label-unchanged (NAME_unchanged).

    Args:
        prepared: the engine prepared on `data`, with the frozen runs that the metrics look at.
        data: what to measure on.
        interventions: None measures the unmodified model against the counterfactual labels.
        metrics: reported name -> metric.
        batch_size: rows per forward.
    """
    means = SplitMean(metrics)
    with evaluating(interventions):
        for batch in batches(data, batch_size, prepared.engine):
            if interventions is None:
                outputs: Outputs = prepared.engine.clean(batch, prepared.runs)
            else:
                outputs = prepared.outputs(batch, interventions)
            means.update(outputs, batch)
    return means.compute()


@contextmanager
def evaluating(interventions: InterventionSet | None) -> Iterator[None]:
    """Interventions in eval mode; afterwards as before."""
    before = interventions is not None and interventions.training
    if interventions is not None:
        interventions.eval()
    try:
        yield
    finally:
        if before and interventions is not None:
            interventions.train()


@torch.no_grad()
def natively_correct(engine: Engine, data: PairDataset, batch_size: int = 64) -> Bool[Tensor, " rows"]:
    """Whether the unmodified model answers a pair correctly: its base, and its target source where it has one."""
    right = []
    for batch in batches(data, batch_size, engine):
        choices, counterfactual = need_choices(batch, "model/accuracy")
        assert batch.base_choice is not None
        ok = _picks(engine.clean(batch).logits, choices) == batch.base_choice
        if batch.target is not None:
            hidden = engine.sources(batch, frozenset({"target"})).hidden["target"]
            ok &= _picks(engine.head_logits(hidden), choices) == counterfactual
        right.append(ok.cpu())
    return torch.cat(right)


def batches(data: PairDataset, batch_size: int, engine: Engine) -> Iterator[PairBatch]:
    """All rows in order, rows that belong together in one batch, on the model's device."""
    device, size = engine.view.device, -(-batch_size // data.group) * data.group
    for start in range(0, len(data), size):
        yield data.collate(range(start, min(start + size, len(data)))).to(device)


def _picks(logits: Tensor, choices: Tensor) -> Tensor:
    return logits[:, 0].float().gather(1, choices).argmax(1)
