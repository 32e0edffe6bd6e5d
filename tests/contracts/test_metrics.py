"""What every metric promises, checked for every yaml in conf/metric."""

from __future__ import annotations

import math

import pytest
import torch

from das.batch import PairBatch
from das.errors import CapabilityError
from das.metrics.base import Choosing, SplitMean, applicable, runs_of
from das.metrics.counterfactual_probability import CounterfactualProbability
from das.metrics.fidelity import Fidelity
from das.metrics.fldd import FLDD
from das.metrics.iia import IIA
from das.metrics.iia_full_vocab import IIAFullVocab
from das.metrics.kl_target_to_intervened import KLTargetToIntervened
from das.metrics.log_odds_ratio import LogOddsRatio
from das.outputs import Outputs
from tests.contracts.groups import made, names
from tests.contracts.test_objectives import VOCAB, batch_of, logits

METRICS = names("metric")
SURE = 1e4


def batch(rows: int = 8) -> PairBatch:
    plain = batch_of(torch.ones(rows, 1, dtype=torch.bool))
    generator = torch.Generator().manual_seed(2)
    choices = torch.stack([torch.randperm(VOCAB, generator=generator)[:3] for _ in range(rows)])
    right = torch.randint(0, 3, (rows,), generator=generator)
    label = choices.gather(1, right[:, None])
    more = {"choices": choices, "counterfactual_choice": right, "base_choice": (right + 1) % 3, "label_ids": label}
    more |= {"rival_choice": right, "per_row": {"value": torch.full((rows,), -SURE)}}
    return PairBatch(**{**vars(plain), **more, "changed": torch.arange(rows) % 3 > 0})


def take(b: PairBatch, rows: list[int]) -> PairBatch:
    fields = {k: v[rows] if isinstance(v, torch.Tensor) else v for k, v in vars(b).items()}
    return PairBatch(**{**fields, "per_row": {k: v[rows] for k, v in b.per_row.items()}})


def ran(x: torch.Tensor, rows: list[int] | None = None) -> Outputs:
    """The intervened run beside frozen ones: the target is sure of the labels, the reference is indifferent."""
    b, take_all = batch(), list(range(8))
    kept = take_all if rows is None else rows
    runs = {"target": sure_of(b), "reference": logits(8, 1, seed=3)}
    return Outputs(x, {name: run[kept] for name, run in runs.items()})


def sure_of(b: PairBatch) -> torch.Tensor:
    return SURE * torch.nn.functional.one_hot(b.label_ids, VOCAB).float()


@pytest.mark.parametrize("name", METRICS)
def test_best_and_worst(name):
    [metric], b = made("metric", name).values(), batch()
    best, worst = metric(ran(sure_of(b)), b), metric(ran(-sure_of(b)), b)
    assert ((best > worst) == (metric.best > metric.worst)).all() and (best != worst).all()
    for found, stated in ((best, metric.best), (worst, metric.worst)):
        assert math.isinf(stated) or (found == stated).all()


@pytest.mark.parametrize("name", METRICS)
def test_independent_of_batch_split_and_order(name):
    [metric], b, x = made("metric", name).values(), batch(), logits(8, 1)
    whole, parts = SplitMean({name: metric}), SplitMean({name: metric})
    whole.update(ran(x), b)
    for rows in ([5, 0, 7], [1], [2, 6, 4, 3]):
        parts.update(ran(x[rows], rows), take(b, rows))
    assert parts.compute() == pytest.approx(whole.compute())
    assert set(whole.compute()) == {name, f"{name}_changed", f"{name}_unchanged"}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_compares_says_with_what(name):
    [metric], b, x = made("metric", name).values(), batch(), logits(8, 1)
    for run in runs_of({name: metric}):
        with pytest.raises(CapabilityError, match=f"'{name}' compares with the {run} run"):
            metric(Outputs(x), b)


def test_over_the_vocabulary_every_token_of_a_label_counts():
    two = torch.ones(3, 2, dtype=torch.bool)
    two[2, 1] = False
    b = batch_of(two)
    sure = 50.0 * torch.nn.functional.one_hot(b.label_ids, VOCAB).float()
    sure[1:, 1] *= -1  # the second token is wrong in row 1, and does not exist in row 2
    assert IIAFullVocab()(Outputs(sure), b).tolist() == [1.0, 0.0, 1.0]


def test_a_log_odds_ratio_is_the_change_of_the_log_odds():
    b, reference, now = batch(), logits(8, 1, seed=3), logits(8, 1)
    found = LogOddsRatio()(Outputs(now, {"reference": reference}), b)
    for i in range(8):
        y_b, y_s = (int(b.choices[i, c[i]]) for c in (b.base_choice, b.counterfactual_choice))
        before, after = (x[i, 0].log_softmax(0) for x in (reference, now))
        assert found[i] == pytest.approx(float(before[y_b] - before[y_s] + after[y_s] - after[y_b]), abs=1e-5)
    assert (LogOddsRatio()(Outputs(now, {"reference": now}), b) == 0).all()


def test_fldd_divides_means_and_no_rows():
    """One row whose clean difference is nearly 0 would decide a mean of ratios."""
    b = batch(3)
    clean, patched = torch.zeros(3, 1, VOCAB), torch.zeros(3, 1, VOCAB)
    rows, base = torch.arange(3), b.choices.gather(1, b.base_choice[:, None])[:, 0]
    clean[rows, 0, base] = torch.tensor([4.0, 2.0, 1e-6])
    patched[rows, 0, base] = torch.tensor([1.0, -2.0, 1.0])
    mean = SplitMean({"fldd": FLDD()})
    mean.update(Outputs(patched, {"reference": clean}), b)
    assert mean.compute()["fldd"] == pytest.approx(1 - (1.0 - 2.0 + 1.0) / 6.0, abs=1e-6)
    same = PairBatch(**{**vars(b), "counterfactual_choice": b.base_choice})
    nothing = SplitMean({"fldd": FLDD()})
    nothing.update(Outputs(patched, {"reference": clean}), same)
    assert math.isnan(nothing.compute()["fldd"])


def test_divergences_from_the_target_are_those_of_torch():
    two = torch.ones(3, 2, dtype=torch.bool)
    two[2, 1] = False
    b, now, target = batch_of(two), logits(3, 2), logits(3, 2, seed=4)
    both = Outputs(now, {"target": target})
    distance = torch.distributions.kl_divergence
    each = distance(*(torch.distributions.Categorical(logits=x) for x in (target, now)))
    assert torch.allclose(Fidelity()(both, b), each[:, 0].double(), atol=1e-6)
    means = torch.stack([each[0].mean(), each[1].mean(), each[2, 0]])
    assert torch.allclose(KLTargetToIntervened()(both, b), means.double(), atol=1e-6)


def test_the_probability_of_a_label_is_that_of_all_its_tokens():
    two = torch.ones(2, 2, dtype=torch.bool)
    two[1, 1] = False
    b, x = batch_of(two), logits(2, 2)
    p = x.softmax(-1).gather(-1, b.label_ids[..., None])[..., 0]
    expected = torch.stack([p[0].prod(), p[1, 0]]).double()
    assert torch.allclose(CounterfactualProbability()(Outputs(x), b), expected, atol=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_says_whether_it_compares_the_labels_of_a_label_set(name):
    [metric], b = made("metric", name).values(), batch()
    without = PairBatch(**{**vars(b), **dict.fromkeys(("choices", "counterfactual_choice", "base_choice"), None)})
    if isinstance(metric, Choosing) and metric.choices:
        with pytest.raises(CapabilityError, match="label set"):
            metric(ran(sure_of(b)), without)
    else:
        assert torch.isfinite(metric(ran(sure_of(b)), without)).all()


def test_metrics_that_say_nothing_of_pairs_without_labels_are_left_out():
    metrics = {"iia": IIA(), "full": IIAFullVocab()}
    assert list(applicable(metrics, None)) == ["full"] and list(applicable(metrics, (" a", " b"))) == list(metrics)
    with pytest.raises(CapabilityError, match=r"all of the metrics.*Got iia.*iia_full_vocab"):
        applicable({"iia": IIA()}, None)
