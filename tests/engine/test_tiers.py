"""Every tier's loss and gradient equal those of the `hooks` tier, on every family (fp32, <= 1e-5 relative)."""

from __future__ import annotations

import pytest
import torch

from das.engine.engine import Engine
from das.engine.tiers import prepare
from das.interventions.das import das
from das.interventions.sets import InterventionSet
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.jsd import JSD
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.families import FAMILIES, LAYERS, tiny_model

TOLERANCE = 1e-5
LAST = LAYERS - 1
SITES = {
    "block_output": [Site(1)],
    "block_input_first": [Site(0, "block_input")],
    "last_block": [Site(LAST)],
    "mlp_output": [Site(1, "mlp_output")],
    "attention_value_output": [Site(1, "attention_value_output")],
    "one_query_head": [Site(1, "head_query_output", heads=(1,))],
    "keys_and_values": [Site(1, "key_output"), Site(1, "value_output")],
    "four_sites": [Site(2, "block_input"), Site(1), Site(1, "attention_output"), Site(2, "mlp_hidden")],
}


def step(model, sites, data, rows, tier, objective):
    torch.manual_seed(1)
    from das.models.families import ModelView

    view = ModelView(model)
    interventions = InterventionSet([(site, das(view.bind(site).width, 3)) for site in sites])
    prepared = prepare(
        Engine(model, interventions.placements), data, target=objective.needs_target, tier=tier, batch_size=3
    )
    assert prepared.tier == tier, prepared.reason
    batch = data.collate(rows)
    loss = objective(prepared.outputs(batch, interventions), batch).total
    loss.backward()
    return loss.detach(), [p.grad for p in interventions.parameters()]


def assert_same(expected, got):
    assert torch.allclose(got[0], expected[0], rtol=TOLERANCE, atol=1e-7), (expected[0], got[0])
    floor = 1e-3 * max(float(g.norm()) for g in expected[1])
    for want, have in zip(expected[1], got[1], strict=True):
        error = float((want - have).norm() / max(float(want.norm()), floor, 1e-9))
        assert error <= TOLERANCE, error


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_families(family, side):
    model = tiny_model(family)
    for name, sites in SITES.items():
        for labels, lowest in ((1, 0), (2, 9)):
            written = "last" if name == "last_block" else 2  # nothing later reads earlier tokens of the last block
            data = RandomPairs(7, [["source"]] * len(sites), side, written, labels, lowest)
            rows = [5, 0, 3, 6]
            objective = JSD() if labels == 2 else CounterfactualCE()
            expected = step(model, sites, data, rows, "hooks", objective)
            assert max(float(g.norm()) for g in expected[1]) > 0, name
            for tier in ("all", "prefix"):
                try:
                    assert_same(expected, step(model, sites, data, rows, tier, objective))
                except AssertionError as error:
                    raise AssertionError(f"{family} {side} {name} labels={labels} {tier}: {error}") from error
