"""The last block computes label columns only where that is less, and nothing changes but the time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from das.engine.engine import Engine
from das.engine.layout import layout
from das.engine.tiers import prepare
from das.models.families import ModelView
from das.objectives.counterfactual_ce import CounterfactualCE
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.engine.test_tiers import assert_same, made, outcome
from tests.families import LAYERS, tiny_model


def watched(mlp):
    """Tokens per row of every call, by another `forward`: a hook would be somebody else's, and nothing be resumed."""
    lengths, forward = [], mlp.forward

    def counting(hidden):
        lengths.append(hidden.shape[1])
        return forward(hidden)

    mlp.forward = counting
    return lengths


@pytest.mark.parametrize(("site", "whole"), [(Site(1), False), (Site(LAYERS - 1, "mlp_output"), True)])
def test_the_last_mlp_sees_the_label_columns_unless_something_is_edited_there(site, whole):
    model = tiny_model("llama-gqa")
    interventions = made(model, [site])
    data = RandomPairs(4, [["source"]], written=2, tokens=9, ragged=False)
    ready = prepare(Engine(model, interventions.placements), data, tier="all")
    lengths = watched(ModelView(model).blocks[LAYERS - 1].mlp)
    batch = data.collate([0, 1])
    ready.outputs(batch, interventions)
    after = layout(batch).suffix.shape[1]
    assert after > 1 and lengths == [after if whole else 1]


def test_a_column_named_twice_counts_once():
    """Missing label tokens of shorter labels are columns 0, which may be real label columns too."""
    model = tiny_model("llama-gqa")
    interventions = made(model, [Site(1)])
    data = RandomPairs(4, [["source"]], written=6, labels=2, tokens=9, ragged=False)
    batch = data.collate([0, 1, 2])
    first = batch.writes[0].index[:, :1].expand(-1, 2)
    batch = replace(batch, label_positions=first, label_mask=torch.tensor([[True, False]] * 3))
    objective = CounterfactualCE()
    found, lengths = [], watched(ModelView(model).blocks[LAYERS - 1].mlp)
    for tier in ("hooks", "all"):
        ready = prepare(Engine(model, interventions.placements), data, tier=tier)
        found.append(outcome(interventions, ready, batch, objective))
        interventions.zero_grad()
    assert lengths[-1] == 2
    assert_same(*found)
