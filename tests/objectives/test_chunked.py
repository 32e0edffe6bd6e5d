"""A loss computed a few label tokens at a time is the loss of all of them, gradients included."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from das.engine.engine import Engine
from das.engine.tiers import prepare
from das.engine.together import Together
from das.errors import CapabilityError
from das.objectives.base import Loss, Needs
from das.objectives.chunked import chunked
from das.outputs import Headless
from das.training import loss as module
from das.training.loss import loss_of
from das.types import Site
from tests.contracts.test_objectives import OBJECTIVES, batch_of, build
from tests.engine.pairs import RandomPairs
from tests.engine.test_tiers import made
from tests.families import tiny_model

TOKENWISE = [name for name in OBJECTIVES if build(name).needs.tokenwise]


@pytest.mark.parametrize("family", ["llama-gqa", "gemma2"])
@pytest.mark.parametrize("tier", ["all", "hooks"])
@pytest.mark.parametrize("name", TOKENWISE)
def test_in_chunks_of_any_size(name, tier, family):
    model, objective = tiny_model(family), build(name)
    interventions = made(model, [Site(1)])
    data = RandomPairs(4, [["source"]], labels=5, lowest=2)
    ready = prepare(Engine(model, interventions.placements), data, runs=objective.needs.runs, tier=tier)
    batch = data.collate([2, 0, 3])
    whole = objective(ready.outputs(batch, interventions), batch)
    [expected] = torch.autograd.grad(whole.total, [interventions[0].featurizer.weight])
    for columns in (1, 2, 5):
        loss = chunked(objective, ready.headless(batch, interventions), batch, columns)
        [got] = torch.autograd.grad(3.0 * loss.total, [interventions[0].featurizer.weight])
        assert loss.count == whole.count and torch.allclose(loss.total, whole.total, rtol=1e-5)
        assert float((got / 3.0 - expected).norm() / expected.norm()) <= 1e-5
        assert {k: float(v) for k, v in loss.parts.items()} == pytest.approx(
            {k: float(v) for k, v in whole.parts.items()}, rel=1e-5
        )


def test_chunks_are_used_where_logits_are_large_and_only_by_objectives_that_allow_it(monkeypatch):
    used = []
    monkeypatch.setattr(module, "chunked", lambda *args: used.append(args[-1]) or chunked(*args))
    model = tiny_model("llama-gqa")
    interventions = made(model, [Site(1)])
    data = RandomPairs(4, [["source"]], labels=5, lowest=2)
    batch = data.collate([0, 1, 2])
    ready = prepare(Engine(model, interventions.placements), data, runs=frozenset({"target"}))
    small, _ = loss_of(build("jsd"), ready, batch, interventions)
    vocab, width = ready.head_shape
    assert (vocab, width) == model.get_output_embeddings().weight.shape
    monkeypatch.setattr(module, "CHUNK", 2 * 3 * vocab)
    large, _ = loss_of(build("jsd"), ready, batch, interventions)
    assert used == [2] and torch.allclose(small.total, large.total, rtol=1e-5)


@pytest.mark.parametrize("name", ["jsd", "counterfactual_ce"])
def test_gradients_of_many_tokens_fit_into_16_bits(name):
    """That of a mean over thousands of tokens would not."""
    torch.manual_seed(0)
    objective, rows, labels, vocab = build(name), 64, 64, 512
    weight, hidden, target = torch.randn(vocab, 32), torch.randn(rows, labels, 32), torch.randn(rows, labels, 32)
    batch = batch_of(torch.ones(rows, labels, dtype=torch.bool))
    batch = replace(batch, label_ids=batch.label_ids % vocab, target_positions=batch.label_positions)
    found = []
    for dtype in (torch.float32, torch.float16):
        x, w = hidden.to(dtype, copy=True).requires_grad_(), 0.1 * weight.to(dtype)
        stopped = Headless(x, {"target": target.to(dtype)}, lambda h, w=w: h @ w.T)
        loss = chunked(objective, stopped, batch, 8)
        (loss.total * loss.count).backward()
        found.append(x.grad.float())
    assert float((found[0] - found[1]).norm() / found[0].norm()) <= 0.02


def test_an_objective_that_looks_at_tokens_together_is_refused():
    batch = batch_of(torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(CapabilityError, match="several label tokens at once"):
        chunked(build("dpo"), Headless(torch.randn(2, 3, 4), {}, lambda h: h), batch, 1)


def test_a_joint_pass_may_mix_objectives_with_chunks_and_without(monkeypatch):
    """One compares responses, the other tokens one by one; only the latter may be taken in chunks."""
    model = tiny_model("llama-gqa")
    data = RandomPairs(4, [["source"]], labels=5, lowest=2)
    batch = data.collate([0, 1, 2])
    asked = [build("jsd"), Rows()]
    sets = [made(model, [Site(1)]) for _ in asked]
    ready = [
        prepare(Engine(model, s.placements), data, runs=o.needs.runs, tier="all")
        for s, o in zip(sets, asked, strict=True)
    ]
    alone = [loss_of(o, r, batch, s)[0] for o, r, s in zip(asked, ready, sets, strict=True)]
    monkeypatch.setattr(module, "CHUNK", 2 * 3 * ready[0].head_shape[0])
    found = module.losses_of(asked, Together(ready), [batch] * 2, sets, 1.0, [nullcontext] * 2)
    for one, (joint, _), placed in zip(alone, found, sets, strict=True):
        wanted, got = (
            torch.autograd.grad(x.total, placed[0].featurizer.weight, retain_graph=True) for x in (one, joint)
        )
        assert joint.count == one.count and torch.allclose(joint.total, one.total, rtol=1e-5)
        assert float((wanted[0] - got[0]).norm() / wanted[0].norm()) <= 1e-5


class Rows:
    """Counts rows, of each the product of two tokens' logits."""

    needs = Needs()

    def __call__(self, outputs, batch):
        total = (outputs.logits[:, 0] * outputs.logits[:, 1]).mean(-1).sum()
        return Loss(total / len(batch.rows), len(batch.rows))


def test_chunks_can_be_counted():
    """FLOP counters put hooks on the inputs of modules, which must not be leaves."""
    model = tiny_model("llama-gqa")
    interventions = made(model, [Site(1)])
    data = RandomPairs(4, [["source"]], labels=5, lowest=2)
    batch = data.collate([0, 1, 2])
    ready = prepare(Engine(model, interventions.placements), data, runs=frozenset({"target"}))
    ready.engine.head_logits(torch.randn(1, 1, ready.head_shape[1]))  # tries the head out
    counts = []
    for columns in (1, 5):
        with FlopCounterMode(display=False) as counter:
            chunked(build("jsd"), ready.headless(batch, interventions), batch, columns).total.backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0, "the head runs as often as without chunks"


def test_which_objectives_are_tokenwise():
    assert {"jsd", "lm_loss", "counterfactual_ce"} <= set(TOKENWISE) and "dpo" not in TOKENWISE
