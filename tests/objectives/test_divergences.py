"""JSD and the two KLs against their definitions."""

from __future__ import annotations

import math

import torch

from das.objectives.base import kl, log_probs
from das.objectives.jsd import jensen_shannon
from das.objectives.kl_intervened_to_target import KLIntervenedToTarget
from das.objectives.kl_target_to_intervened import KLTargetToIntervened
from das.outputs import Outputs
from tests.contracts.test_objectives import batch_of


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


def divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    categorical = torch.distributions.Categorical
    return torch.distributions.kl_divergence(categorical(logits=p), categorical(logits=q))


def test_kl_argument_order():
    p, q = distributions(0), distributions(1)
    assert torch.allclose(kl(p, q), divergence(p, q))
    assert not torch.allclose(kl(q, p), divergence(p, q))


def test_the_objectives_take_the_expectation_their_names_say():
    intervened, target = distributions(0), distributions(1)
    batch, outputs = batch_of(torch.ones(2, 3, dtype=torch.bool)), Outputs(intervened, {"target": target})
    to_target = KLIntervenedToTarget()(outputs, batch).total
    to_intervened = KLTargetToIntervened()(outputs, batch).total
    assert torch.allclose(to_target, divergence(intervened, target).mean())
    assert torch.allclose(to_intervened, divergence(target, intervened).mean())
    assert not torch.allclose(to_target, to_intervened, rtol=1e-2)


def test_what_both_runs_rule_out_counts_nothing_and_has_no_gradient():
    """Vocabulary entries at -inf in both runs (padded vocabularies) are as good as absent; in one run they are not."""
    inf = torch.tensor(-math.inf, dtype=torch.float64)
    short = [3 * torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(n)).double() for n in range(2)]
    p, q = (torch.cat([x, inf.expand(2, 3, 2)], -1).requires_grad_() for x in short)
    for divergence_of in (jensen_shannon, kl):
        found = divergence_of(log_probs(p), log_probs(q))
        assert torch.allclose(found, divergence_of(*map(log_probs, short)))
        for gradient in torch.autograd.grad(found.sum(), (p, q)):
            assert torch.isfinite(gradient).all() and gradient.any()
    one_sided = log_probs(torch.cat([short[0], short[1][..., :1], inf.expand(2, 3, 1)], -1))
    assert torch.isfinite(kl(log_probs(p), one_sided)).all() and kl(one_sided, log_probs(p)).isposinf().all()
    assert (jensen_shannon(log_probs(p), one_sided) <= math.log(2)).all()


def test_the_gradients_of_jsd_are_those_of_its_definition():
    logits = [distributions(n).requires_grad_() for n in range(2)]
    assert torch.autograd.gradcheck(lambda *x: jensen_shannon(*map(log_probs, x)), logits)
    kept, _ = logits[0], logits[1].detach()
    assert torch.autograd.gradcheck(lambda x: jensen_shannon(log_probs(x), distributions(1)), [kept])
