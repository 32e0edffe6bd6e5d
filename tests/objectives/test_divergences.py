"""JSD and the two KLs against their definitions."""

from __future__ import annotations

import math

import torch

from das.objectives.base import kl, log_probs
from das.objectives.jsd import jensen_shannon


def distributions(seed: int) -> torch.Tensor:
    return log_probs(3 * torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def test_jsd_is_symmetric_zero_on_equals_and_at_most_log_2():
    p, q = distributions(0), distributions(1)
    assert torch.allclose(jensen_shannon(p, q), jensen_shannon(q, p), rtol=1e-12)
    assert jensen_shannon(p, p).abs().max() < 1e-15
    assert (jensen_shannon(p, q) <= math.log(2)).all()


def test_jsd_of_disjoint_supports_is_log_2():
    p = log_probs(torch.tensor([[[200.0, 0, 0, 0]]], dtype=torch.float64))
    q = log_probs(torch.tensor([[[0, 0, 0, 200.0]]], dtype=torch.float64))
    assert torch.allclose(jensen_shannon(p, q), torch.tensor(math.log(2), dtype=torch.float64))


def test_jsd_matches_its_definition():
    p, q = distributions(0).exp(), distributions(1).exp()
    m = (p + q) / 2
    wanted = 0.5 * (p * (p / m).log()).sum(-1) + 0.5 * (q * (q / m).log()).sum(-1)
    assert torch.allclose(jensen_shannon(p.log(), q.log()), wanted)


def test_kl_argument_order():
    p, q = distributions(0), distributions(1)
    wanted = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    )
    assert torch.allclose(kl(p, q), wanted)
    assert not torch.allclose(kl(q, p), wanted)
