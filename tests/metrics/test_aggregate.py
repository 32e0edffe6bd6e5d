"""Protocols' aggregations against numbers worked out by hand, and what they must not be confused with."""

from __future__ import annotations

import random

import pytest
import torch

from das.errors import EmptySplitError, InputError, UnknownChoiceError
from das.metrics.aggregate.bootstrap import bootstrap
from das.metrics.aggregate.disentangle import disentangled, over_attributes
from das.metrics.aggregate.layers import mib, over_layers, selectivity
from das.metrics.aggregate.steering_score import select_factor, steering_score
from das.metrics.aggregate.student import student


def test_mib_averages_sets_before_it_takes_the_best_position():
    found = mib({
        (0, "a"): {"s": 1.0, "t": 0.0},
        (0, "b"): {"s": 0.2, "t": 0.6},
        (1, "a"): {"s": 0.9, "t": 0.7},
    })  # fmt: skip
    assert found.by_layer == pytest.approx({0: 0.5, 1: 0.8})  # not 0.8, the mean of the sets' own maxima in layer 0
    assert (found.average, found.best) == pytest.approx((0.65, 0.8))
    assert (found.layer, found.position) == (1, "a")


def test_causalgym_is_the_mean_over_layers_of_the_best_position_of_selectivities():
    task = {(0, "a"): 3.0, (0, "b"): 5.0, (1, "a"): 7.0, (1, "b"): 2.0}
    control = {(0, "a"): 0.0, (0, "b"): 4.0, (1, "a"): 1.0, (1, "b"): -1.0}
    assert over_layers(task).average == 6.0
    assert over_layers(selectivity(task, control)).average == pytest.approx((3.0 + 6.0) / 2)


def test_layers_with_only_negative_odds_keep_them():
    assert over_layers({(0, "a"): -2.0, (0, "b"): -3.0}).by_layer == {0: -2.0}


def test_units_that_cannot_be_aggregated():
    with pytest.raises(EmptySplitError):
        over_layers({})
    with pytest.raises(InputError, match="NaN at"):
        over_layers({(0, "a"): float("nan")})
    with pytest.raises(InputError, match="counterfactual sets"):
        mib({(0, "a"): {"s": 1.0}, (1, "a"): {"t": 1.0}})
    with pytest.raises(InputError, match="same units"):
        selectivity({(0, "a"): 1.0}, {(1, "a"): 1.0})


@pytest.mark.parametrize(("cause", "isolate"), [(0.0, 1.0), (1.0, 0.0)], ids=["nothing", "everything"])
def test_doing_nothing_and_swapping_everything_disentangle_half(cause, isolate):
    found = disentangled("country", {"country": {"x": cause}, "language": {"x": isolate, "y": isolate}})
    assert (found.cause, found.isolate, found.disentangle) == (cause, isolate, 0.5)


def test_tasks_are_averaged_within_an_attribute_first():
    table = {"country": {"x": 1.0, "y": 0.5}, "language": {"x": 1.0}, "continent": {"x": 0.0, "y": 0.5, "z": 0.25}}
    found = disentangled("country", table)
    assert found.cause == 0.75 and found.isolate == pytest.approx((1.0 + 0.25) / 2)  # not (1 + 0 + .5 + .25) / 4
    both = over_attributes([found, disentangled("language", table)])
    assert both.cause == pytest.approx((0.75 + 1.0) / 2)
    with pytest.raises(UnknownChoiceError, match="language"):
        disentangled("langage", table)
    with pytest.raises(EmptySplitError):
        disentangled("country", {"country": {"x": 1.0}})


def test_a_steering_score_is_a_harmonic_mean_and_0_where_anything_is():
    assert steering_score(2, 1, 2) == pytest.approx(3 / (0.5 + 1 + 0.5))
    assert steering_score(2, 2, 2) == 2.0 and steering_score(2, 0, 2) == 0.0
    with pytest.raises(InputError):
        steering_score(3, 1, 1)


def test_factors_are_chosen_on_one_half_and_reported_on_the_other():
    scores = {1.0: [0.0, 1.0, 2.0, 2.0], 2.0: [1.0, 1.0, 0.0, 0.5], 3.0: [1.0, 1.0, 2.0, 2.0]}
    found = select_factor(scores)
    assert (found.factor, found.score, found.chosen_by) == (2.0, 0.25, 1.0)  # the second half would have chosen 3
    assert select_factor({1.0: [1.0, 0.0, 1.0]}).score == 0.5
    with pytest.raises(InputError):
        select_factor({1.0: [1.0, 2.0], 2.0: [1.0]})
    with pytest.raises(EmptySplitError):
        select_factor({1.0: [1.0]})


def test_a_bootstrap_interval_is_as_wide_as_theory_says_and_repeats():
    rows = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = bootstrap(rows)
    half = 1.96 * float(rows.std()) / 20
    assert found.value == pytest.approx(float(rows.mean()))
    assert (found.value - found.low, found.high - found.value) == pytest.approx((half, half), rel=0.15)
    assert bootstrap(rows) == found and bootstrap(rows, seed=1) != found
    assert bootstrap(rows, level=0.5).high < found.high
    assert bootstrap(torch.ones(5)) == bootstrap(torch.ones(3))


def test_a_bootstrap_of_a_ratio_of_means():
    pairs = torch.tensor([[1.0, 2.0], [3.0, 4.0], [2.0, 6.0]])
    found = bootstrap(pairs, lambda x: x[:, 0].mean() / x[:, 1].mean(), resamples=200)
    assert found.value == 0.5 and 1 / 3 <= found.low <= found.high <= 0.75


def test_bootstraps_that_make_no_sense():
    with pytest.raises(EmptySplitError):
        bootstrap(torch.ones(0))
    with pytest.raises(InputError):
        bootstrap(torch.ones(2), level=1.0)


def test_the_interval_of_a_few_numbers_holds_as_often_as_it_says():
    generator = random.Random(0)
    draws = [[generator.gauss(0, 1) for _ in range(3)] for _ in range(4000)]
    held = sum(abs(mean) <= half for mean, half in map(student, draws))
    assert 0.94 <= held / len(draws) <= 0.96
    assert student([0.5]) == (0.5, None)
    with pytest.raises(EmptySplitError):
        student([])
