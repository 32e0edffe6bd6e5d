"""Rows of several interventions in one forward give each of them the loss and gradient of its own, on every family."""

from __future__ import annotations

import pytest
import torch

from das.engine.engine import Engine
from das.engine.recording import Recording
from das.engine.tiers import prepare
from das.engine.together import Together
from das.errors import EngineError
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.jsd import JSD
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.engine.test_tiers import assert_same, made, outcome
from tests.families import FAMILIES, tiny_model

#: Sites that resume at one block: two at its boundary, one in a later block too.
TOGETHER = (
    ([Site(1)], 2), ([Site(1)], 5), ([Site(2, "block_input")], 9), ([Site(1), Site(2, "mlp_output")], 3),
)  # fmt: skip


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_families(family, side):
    model = tiny_model(family)
    objective = JSD() if side == "left" else CounterfactualCE()
    members, sets, batches, expected = [], [], [], []
    for seed, (sites, written) in enumerate(TOGETHER):
        interventions = made(model, sites)
        data = RandomPairs(5, [["source"]] * len(sites), side, written, 1 + seed % 2, seed=seed)
        member = prepare(Engine(model, interventions.placements), data, runs=objective.needs.runs, tier="all")
        batch = data.collate([2, 0, 3, 4][: 3 + seed % 2])
        expected.append(outcome(interventions, member, batch, objective))
        interventions.zero_grad()
        members.append(member)
        sets.append(interventions)
        batches.append(batch)
    losses = [objective(o, b).total for o, b in zip(Together(members).outputs(batches, sets), batches, strict=True)]
    torch.stack(losses).sum().backward()
    for want, loss, interventions in zip(expected, losses, sets, strict=True):
        grads = [p.grad for p in interventions.parameters() if p.requires_grad]
        assert max(float(g.norm()) for g in want[1]) > 0
        assert_same(want, (loss.detach(), grads))


def test_what_cannot_share_a_pass_is_refused():
    model, data = tiny_model("llama-gqa"), RandomPairs(3, [["source"]])
    engines = [Engine(model, made(model, [Site(layer)]).placements) for layer in (0, 1)]
    low, high = (Recording(engines, data).replay(engine) for engine in engines)
    with pytest.raises(EngineError, match="they resume at blocks"):
        Together([low, high])
    with pytest.raises(EngineError, match="repeats frozen work"):
        Together([low, prepare(engines[0], data, tier="hooks")])
    other = tiny_model("llama-gqa")
    with pytest.raises(EngineError, match="several models"):
        Together([low, prepare(Engine(other, made(other, [Site(0)]).placements), data, tier="all")])
