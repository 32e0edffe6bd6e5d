"""Frozen runs are made once per dataset, never in a step: counted in executions of the model's own layers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

from das.engine.engine import Engine
from das.engine.tiers import prepare
from das.interventions.sets import InterventionSet
from das.methods.das import das
from das.methods.steering_vector import steering_vector
from das.objectives.dpo import DPO
from das.outputs import FrozenRun
from das.types import Site
from tests.contracts.test_objectives import suited
from tests.engine.pairs import RandomPairs
from tests.families import tiny_model

RUNS: dict[str, frozenset[FrozenRun]] = {
    "neither": frozenset(), "target": frozenset({"target"}), "reference": frozenset({"reference"}),
    "both": frozenset({"target", "reference"}),
}  # fmt: skip
STEPS = 3


def counted(model) -> Counter:
    """How often each layer's MLP is computed from now on: bypassed layers compute nothing."""
    seen: Counter = Counter()
    for i, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_hook(lambda m, args, out, i=i: seen.update([i]))
    return seen


@pytest.mark.parametrize("runs", RUNS)
def test_a_step_computes_the_intervened_suffix_and_nothing_else(runs):
    model, data = tiny_model("llama-gqa"), RandomPairs(6, [["source"]], labels=3)
    interventions = InterventionSet([(Site(1), das(32, 2))])
    ready = prepare(Engine(model, interventions.placements), data, tier="all", runs=RUNS[runs], batch_size=2)
    seen = counted(model)
    for _ in range(STEPS):
        outputs = ready.outputs(data.collate([0, 3, 5]), interventions)
        assert set(outputs.runs) == RUNS[runs]
        outputs.logits.sum().backward()
    assert seen == {2: STEPS}, "written at the output of layer 1, so only layer 2 has to run"


@pytest.mark.parametrize("runs", RUNS)
def test_the_tier_that_keeps_nothing_computes_them_every_time(runs):
    """The negative control: the counter sees runs where there are some."""
    model, data = tiny_model("llama-gqa"), RandomPairs(6, [["source"]], labels=3)
    interventions = InterventionSet([(Site(1), das(32, 2))])
    ready = prepare(Engine(model, interventions.placements), data, tier="hooks", runs=RUNS[runs])
    seen = counted(model)
    for _ in range(STEPS):
        ready.outputs(data.collate([0, 3, 5]), interventions)
    source, reference = 1, int("reference" in RUNS[runs])
    assert seen[0] == STEPS * (1 + source + reference)
    assert seen[2] == STEPS * (1 + int("target" in RUNS[runs]) + reference), "sources stop where they are read"


@pytest.mark.parametrize("tier", ["all", "hooks"])
def test_a_zero_edit_is_log_2_through_the_engine(tier):
    """The reference that is kept is the run without the intervention, bit for bit the same distribution."""
    model, data = tiny_model("llama-gqa"), RandomPairs(4, [[]], labels=3)
    nothing = InterventionSet([(Site(1), steering_vector(32, scale=0.0))])
    ready = prepare(Engine(model, nothing.placements), data, tier=tier, runs=DPO().needs.runs)
    batch = data.collate([0, 1, 2, 3])
    preferences = suited(DPO(), batch.label_mask)
    batch = replace(batch, group=2, per_row=preferences.per_row, factor=preferences.factor)
    loss = DPO()(ready.outputs(batch, nothing), batch).total
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-6)
    loss.backward()
    assert float(nothing[0].featurizer.vector.grad.norm()) > 0, "training can start from zero"
