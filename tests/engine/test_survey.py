"""Rows are collected in order of their length, so little padding is computed; what is stored has none at all."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from das.engine import survey
from das.engine.engine import Engine
from das.engine.store import Axis, Form, TokenStore
from das.engine.survey import Survey
from das.engine.tiers import prepare
from das.objectives.counterfactual_ce import CounterfactualCE
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.engine.test_tiers import assert_same, made, outcome
from tests.families import tiny_model


@dataclass(frozen=True)
class Uneven(RandomPairs):
    """Rows of 8 to 57 tokens, in no order."""

    def _row(self, r: int) -> dict:
        return RandomPairs(self.rows, self.placements, tokens=14 + 13 * r % 50)._row(r)


DATA = Uneven(24, [["source"]])


@pytest.fixture
def computed(monkeypatch):
    """Tokens that go through a model's first block, pads included."""
    model = tiny_model("llama-gqa")
    cls, tokens = type(model.model.layers[0].mlp), []
    forward, first = cls.forward, model.model.layers[0].mlp

    def counting(self, x):
        if self is first:
            tokens.append(x.shape[0] * x.shape[1])
        return forward(self, x)

    monkeypatch.setattr(cls, "forward", counting)
    return model, tokens


def test_little_padding_is_computed(computed):
    model, tokens = computed
    engine = Engine(model, made(model, [Site(1)]).placements)
    rows = [DATA.collate([row]) for row in range(len(DATA))]
    real = sum(int(batch.base.mask.sum() + batch.sources["source"].mask.sum()) for batch in rows)
    prepare(engine, DATA, tier="all", batch_size=6)
    measuring = 2 * max(batch.base.mask.shape[1] for batch in rows)
    batches = [DATA.collate(range(i, i + 6)) for i in range(0, 24, 6)]
    in_order = sum(t.mask.numel() for b in batches for t in (b.base, *b.sources.values()))
    assert sum(tokens) - measuring < 1.25 * real < 1.5 * real < in_order


def test_every_row_is_collected_once_in_batches_that_fit(monkeypatch):
    engine = Engine(model := tiny_model("llama-gqa"), made(model, [Site(1)]).placements)
    found = Survey(DATA, engine)
    for most, tokens in ((6, 1 << 16), (256, 400), (256, 10)):
        monkeypatch.setattr(survey, "TOKENS", tokens)
        chunks = found.chunks(most)
        assert sorted(row for chunk in chunks for row in chunk) == list(range(len(DATA)))
        for chunk in chunks:
            batch = DATA.collate(chunk)
            padded = batch.base.mask.numel() + batch.sources["source"].mask.numel()
            assert len(chunk) <= most and (padded <= 1.2 * tokens or len(chunk) == 1)


def test_order_and_size_of_the_batches_do_not_change_the_result():
    model = tiny_model("gemma2")
    found = []
    for size in (1, 5, 256):
        interventions = made(model, [Site(1)])
        ready = prepare(Engine(model, interventions.placements), DATA, tier="all", batch_size=size)
        found.append(outcome(interventions, ready, DATA.collate([3, 20, 7, 11]), CounterfactualCE()))
    for other in found[1:]:
        assert_same(found[0], other)


@pytest.mark.parametrize("pad", ["left", "right"])
def test_rows_come_back_padded_to_what_is_asked_for(pad):
    lengths = torch.tensor([2, 0, 3])
    axis = Axis(lengths, pad)
    store = TokenStore(torch.zeros(6, 1), Form((1,), torch.float32, torch.device("cpu")))
    value = torch.arange(1.0, 10.0).view(3, 3, 1)
    store.put(axis.index(torch.tensor([0, 1, 2]), 3), value)
    assert len(store.data) == 6 and float(store.data[-1]) == 0, "no pads are stored, but one zero for all of them"
    got = store.get(axis.index(torch.tensor([2, 0, 1]), 3))[..., 0].tolist()
    assert got == ([[7, 8, 9], [0, 2, 3], [0] * 3] if pad == "left" else [[7, 8, 9], [1, 2, 0], [0] * 3])
    short = store.get(axis.index(torch.tensor([0, 1]), 2))[..., 0].tolist()
    assert short == ([[2, 3], [0, 0]] if pad == "left" else [[1, 2], [0, 0]])
