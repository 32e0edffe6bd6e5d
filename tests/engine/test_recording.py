"""One recording replayed for many sites gives every site the loss and gradient of full forwards, on every family."""

from __future__ import annotations

import pytest
import torch

from das.engine.engine import Engine
from das.engine.recording import Recording
from das.errors import EngineError
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.jsd import JSD
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.engine.test_tiers import CASES, SITES, assert_same, made, outcome, step
from tests.families import FAMILIES, tiny_model


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_families(family, side):
    model = tiny_model(family)
    placed = {name: made(model, sites) for name, sites in SITES.items() if len(sites) == 1}
    engines = {name: Engine(model, interventions.placements) for name, interventions in placed.items()}
    for labels, lowest in ((1, 0), (2, 9)):
        objective = JSD() if labels == 2 else CounterfactualCE()
        recording = None
        for name, interventions in placed.items():
            if (labels, lowest) not in CASES[name]:
                continue
            written = "last" if name == "last_block" else 2
            data = RandomPairs(4, [["source"]], side, written, labels, lowest, seed=1)
            if recording is None:
                recording = Recording(list(engines.values()), data, runs=objective.needs.runs, batch_size=2)
            expected = step(model, SITES[name], data, [2, 0, 3], "hooks", objective)
            replayed = recording.replay(engines[name])
            assert replayed.nbytes == recording.nbytes > 0
            try:
                assert_same(expected, outcome(interventions, replayed, data.collate([2, 0, 3]), objective))
            except AssertionError as error:
                raise AssertionError(f"{family}, {name}, {labels} labels: {error}") from error
            interventions.zero_grad()


def test_rows_come_back_in_any_order_and_number():
    model = tiny_model("llama-gqa")
    interventions = made(model, [Site(1)])
    engine = Engine(model, interventions.placements)
    data = RandomPairs(6, [["source"]])
    ready = Recording([engine], data, batch_size=4).replay(engine)
    whole = ready.outputs(data.collate([0, 1, 2, 3, 4, 5]), interventions).logits
    for row in (5, 0, 3):
        alone = ready.outputs(data.collate([row]), interventions).logits
        assert torch.allclose(alone[0], whole[row], atol=1e-5)


def test_what_was_not_recorded_is_refused():
    model = tiny_model("llama-gqa")
    first, other = (Engine(model, made(model, [Site(layer)]).placements) for layer in (0, 1))
    recording = Recording([first], RandomPairs(3, [["source"]]))
    with pytest.raises(EngineError, match="nothing was recorded"):
        recording.replay(other)
    embeddings = Engine(model, made(model, [Site(None, "model.embed_tokens")]).placements)
    with pytest.raises(EngineError, match="before the first block"):
        Recording([embeddings], RandomPairs(3, [["source"]]))
