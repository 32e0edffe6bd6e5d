"""Labelled activations: means, pooling, pairs, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from das.errors import EmptySplitError, InputError
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.estimators.moments import Moments, one_hot, shrunk


def tokens() -> Examples:
    """Prompt 0 (positive) with two tokens, 1 (negative) with one, 2 (positive) with one and no partner."""
    x = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [10.0, 10.0]])
    return Examples(
        x,
        torch.tensor([1, 1, 0, 1]),
        torch.tensor([0, 0, 1, 2]),
        torch.tensor([0, 0, 0, 1]),
        torch.tensor([4, 5, 4, 4]),
    )


def test_means_are_over_tokens_and_pooled_means_over_prompts():
    positive, negative = tokens().means()
    assert positive.tolist() == pytest.approx([14 / 3, 10 / 3]) and negative.tolist() == [0.0, 2.0]
    pooled = tokens().pooled()
    assert pooled.x.tolist() == [[2.0, 0.0], [0.0, 2.0], [10.0, 10.0]] and pooled.label.tolist() == [1, 0, 1]
    assert pooled.pair.tolist() == [0, 0, 1] and pooled.means()[0].tolist() == [6.0, 5.0]


def test_differences_use_complete_pairs_only():
    assert tokens().differences().tolist() == [[2.0, -2.0]]
    with pytest.raises(EmptySplitError, match="no contrast has both"):
        Examples.of(torch.randn(3, 2), torch.tensor([1, 1, 1])).differences()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_pooling_adds_up_in_fp64_whatever_the_activations_are_in(dtype):
    x, prompt = (3 + torch.randn(1200, 8)).to(dtype), torch.arange(1200) % 2
    pooled = Examples(x, prompt, prompt, torch.zeros_like(prompt), torch.arange(1200)).pooled().x
    means = torch.stack([x[prompt == n].double().mean(0) for n in (0, 1)])
    assert pooled.dtype == torch.float64 and torch.allclose(pooled, means, atol=1e-12, rtol=0)


def test_gradients_are_pooled_too():
    e = tokens()
    with_gradient = Examples(e.x, e.label, e.prompt, e.pair, e.position, 2 * e.x)
    assert torch.equal(with_gradient.pooled().gradient, 2 * e.pooled().x)


def test_what_is_refused():
    x, label = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    with pytest.raises(InputError, match="NaN"):
        Examples.of(torch.full((4, 3), float("nan")), label)
    e = Examples.of(x, label)
    with pytest.raises(InputError, match="gradients hold NaN"):
        replace(e, gradient=torch.full((4, 3), float("nan")))
    with pytest.raises(EmptySplitError, match="needs activations"):
        Examples.of(x[:0], label[:0])
    with pytest.raises(EmptySplitError, match="no activation of concept value 1"):
        Examples.of(x, torch.zeros(4, dtype=torch.long)).side(POSITIVE)
    assert len(Examples.of(x, label).side(NEGATIVE)) == 2


def test_streamed_moments_equal_those_in_one_go():
    x, label = torch.randn(101, 5, dtype=torch.float64) * torch.arange(1, 6), torch.randint(0, 3, (101,))
    z = one_hot(label, (0, 1, 2))
    streamed = Moments(5, 3)
    for part in torch.arange(101).split(17):
        streamed.update(x[part], z[part])
    streamed.update(x[:0], z[:0])
    cx, cz = x - x.mean(0), z - z.mean(0)
    assert torch.allclose(streamed.mean_x, x.mean(0), atol=1e-12) and streamed.count == 101
    assert torch.allclose(streamed.cov_xx, cx.T @ cx / 101, atol=1e-12)
    assert torch.allclose(streamed.cov_xz, cx.T @ cz / 101, atol=1e-12)
    with pytest.raises(EmptySplitError):
        _ = Moments(2, 1).cov_xx


def test_shrinkage_keeps_the_trace_and_vanishes_with_many_examples():
    truth = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    errors = {}
    for n in (10, 100000):
        x = torch.randn(n, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) @ truth.sqrt()
        cov = (x - x.mean(0)).T @ (x - x.mean(0)) / n
        better = shrunk(cov, n)
        assert float(better.trace()) == pytest.approx(float(cov.trace()))
        errors[n] = (float((better - truth).norm()), float((cov - truth).norm()))
    assert errors[10][0] < errors[10][1], "few examples: the shrunk estimate is closer to the truth"
    assert errors[100000][0] == pytest.approx(errors[100000][1], rel=0.05)


def test_a_two_valued_concept_is_one_column():
    assert one_hot(torch.tensor([0, 1, 1]), (0, 1)).tolist() == [[0.0], [1.0], [1.0]]
    assert one_hot(torch.tensor([2, 0]), (0, 1, 2)).shape == (2, 3)
