"""A loss computed a few label tokens at a time is the loss of all of them, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from das.engine.engine import Engine
from das.engine.tiers import prepare
from das.objectives.chunked import chunked
from das.training import loss as module
from das.training.loss import loss_of
from das.types import Site
from tests.contracts.test_objectives import OBJECTIVES, build
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


def test_chunks_can_be_counted():
    """FLOP counters put hooks on the inputs of modules, which must not be leaves."""
    model = tiny_model("llama-gqa")
    interventions = made(model, [Site(1)])
    data = RandomPairs(4, [["source"]], labels=5, lowest=2)
    batch = data.collate([0, 1, 2])
    ready = prepare(Engine(model, interventions.placements), data, runs=frozenset({"target"}))
    counts = []
    for columns in (1, 5):
        with FlopCounterMode(display=False) as counter:
            chunked(build("jsd"), ready.headless(batch, interventions), batch, columns).total.backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0, "the head runs as often as without chunks"


def test_which_objectives_are_tokenwise():
    assert {"jsd", "lm_loss", "counterfactual_ce"} <= set(TOKENWISE) and "dpo" not in TOKENWISE
