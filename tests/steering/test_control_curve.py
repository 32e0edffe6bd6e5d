"""Preference and utility log-odds against probabilities worked out one by one, and the curve on planted parameters."""

from __future__ import annotations

import math

import pytest
import torch

from das.errors import EmptySplitError, InputError
from das.steering.control_curve import Polar, control_curve, preference_log_odds, utility_log_odds
from das.steering.steer import steer
from das.steering.validity import Curve, Side, fit_curve

PAIRS = [Polar("Tim went home .", "she", "he"), Polar("Sue was happy and", "her dog", "his big dog")]


def test_log_odds_are_those_of_probabilities():
    p, n = torch.tensor([0.5, 0.2], dtype=torch.float64), torch.tensor([0.25, 0.1], dtype=torch.float64)
    assert torch.allclose(preference_log_odds(-p.log(), -n.log()), (p / n).log())
    assert torch.allclose(utility_log_odds(-p.log(), -n.log()), ((p + n) / (1 - p - n)).log())
    with_all = torch.tensor([0.5], dtype=torch.float64)
    assert utility_log_odds(-with_all.log(), -with_all.log()).isnan().all()
    tiny = torch.tensor([400.0])
    assert utility_log_odds(tiny, tiny) == pytest.approx(math.log(2) - 400)


@pytest.mark.parametrize("per_token", [True, False])
def test_points_are_those_of_the_steered_model(llama, tokenizer, make_subspace, per_token):
    subspace, factors = make_subspace(llama), [-2, 0, 1.5]
    found = control_curve(llama, subspace, PAIRS, factors, per_token=per_token, tokenizer=tokenizer, batch_size=1)
    assert [point.factor for point in found] == [-2.0, 0.0, 1.5]
    for point in found:
        losses = [[loss(llama, tokenizer, subspace, p.question, getattr(p, s), point.factor, per_token) for p in PAIRS]
                  for s in ("preferred", "rejected")]  # fmt: skip
        preferred, rejected = torch.tensor(losses, dtype=torch.float64)
        assert point.preference == pytest.approx(float((rejected - preferred).mean()), abs=1e-4)
        utility = utility_log_odds(preferred, rejected)
        assert point.utility == pytest.approx(float(utility.nanmean()), abs=1e-4)
        assert point.undefined == int(utility.isnan().sum())
    assert len({round(point.preference, 4) for point in found}) == 3


@torch.no_grad()
def loss(model, tokenizer, subspace, question, answer, factor, per_token):
    ids, more = tokenizer(question).input_ids, tokenizer(answer, add_special_tokens=False).input_ids
    row = torch.tensor([[*ids, *more]])
    if factor:
        with steer(model, subspace, factor, prompts=[question], tokenizer=tokenizer):
            logits = model(row).logits
    else:
        logits = model(row).logits
    nll = torch.nn.functional.cross_entropy(logits[0, len(ids) - 1 : -1], torch.tensor(more), reduction="none")
    return float(nll.mean() if per_token else nll.sum())


def test_a_curve_needs_pairs(llama, tokenizer, make_subspace):
    with pytest.raises(EmptySplitError):
        control_curve(llama, make_subspace(llama), [], [1], tokenizer=tokenizer)


@pytest.mark.parametrize("slope", [True, False])
def test_planted_curves_are_recovered(slope):
    planted = Curve(1.5 if slope else 0.0, 2.0, -1.0, Side(0.5, 9.0, 1.2), Side(-0.5, 4.0, 0.8), 1.0)
    factors = [i / 4 for i in range(-24, 25)]
    found = fit_curve(factors, planted(factors), slope=slope)
    assert found.r2 > 0.99
    assert found([0.1, -3.1, 5.2]) == pytest.approx(planted([0.1, -3.1, 5.2]), abs=0.1)
    assert planted([0.5]) == pytest.approx([(1.5 * 0.5 if slope else 0.0) + 2.0 - 1.0])  # D(m0) = 1


def test_noise_is_not_explained_and_too_few_points_are_refused():
    noise = torch.randn(49, generator=torch.Generator().manual_seed(0)).tolist()
    assert fit_curve([i / 4 for i in range(-24, 25)], noise, slope=False).r2 < 0.6
    with pytest.raises(InputError, match="at least 10 factors"):
        fit_curve([1, 2, 3], [1.0, 2.0, 3.0], slope=True)
