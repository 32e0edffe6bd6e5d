"""What every metric promises, checked for every yaml in conf/metric."""

from __future__ import annotations

import math

import pytest
import torch

from das.batch import PairBatch
from das.metrics.base import SplitMean
from das.metrics.iia_full_vocab import IIAFullVocab
from das.outputs import Outputs
from tests.contracts.groups import made, names
from tests.contracts.test_objectives import VOCAB, batch_of, logits

METRICS = names("metric")


def batch(rows: int = 8) -> PairBatch:
    plain = batch_of(torch.ones(rows, 1, dtype=torch.bool))
    generator = torch.Generator().manual_seed(2)
    choices = torch.stack([torch.randperm(VOCAB, generator=generator)[:3] for _ in range(rows)])
    right = torch.randint(0, 3, (rows,), generator=generator)
    label = choices.gather(1, right[:, None])
    more = {"choices": choices, "counterfactual_choice": right, "base_choice": (right + 1) % 3, "label_ids": label}
    return PairBatch(**{**vars(plain), **more, "changed": torch.arange(rows) % 3 > 0})


def take(b: PairBatch, rows: list[int]) -> PairBatch:
    fields = {k: v[rows] if isinstance(v, torch.Tensor) else v for k, v in vars(b).items()}
    return PairBatch(**fields)


@pytest.mark.parametrize("name", METRICS)
def test_best_and_worst(name):
    [metric], b = made("metric", name).values(), batch()
    sure = 50.0 * torch.nn.functional.one_hot(b.label_ids, VOCAB).float()
    best, worst = metric(Outputs(sure), b), metric(Outputs(-sure), b)
    assert (best > worst).all()
    if math.isfinite(metric.best):
        assert (best == metric.best).all() and (worst == metric.worst).all()


@pytest.mark.parametrize("name", METRICS)
def test_independent_of_batch_split_and_order(name):
    [metric], b, x = made("metric", name).values(), batch(), logits(8, 1)
    whole, parts = SplitMean({name: metric}), SplitMean({name: metric})
    whole.update(Outputs(x), b)
    for rows in ([5, 0, 7], [1], [2, 6, 4, 3]):
        parts.update(Outputs(x[rows]), take(b, rows))
    assert parts.compute() == pytest.approx(whole.compute())
    assert set(whole.compute()) == {name, f"{name}_changed", f"{name}_unchanged"}


def test_over_the_vocabulary_every_token_of_a_label_counts():
    two = torch.ones(3, 2, dtype=torch.bool)
    two[2, 1] = False
    b = batch_of(two)
    sure = 50.0 * torch.nn.functional.one_hot(b.label_ids, VOCAB).float()
    sure[1:, 1] *= -1  # the second token is wrong in row 1, and does not exist in row 2
    assert IIAFullVocab()(Outputs(sure), b).tolist() == [1.0, 0.0, 1.0]
