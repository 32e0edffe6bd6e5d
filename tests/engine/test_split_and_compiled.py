"""Models that others have taken in hand, split over devices or compiled, give the same losses and gradients."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import pytest

from das.engine.engine import Engine
from das.engine.recording import Recording
from das.engine.tiers import prepare
from das.objectives.jsd import JSD
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.engine.test_tiers import assert_same, made, outcome
from tests.families import tiny_model

FAMILIES = ("llama-gqa", "gpt2")


def outcomes(model):
    """Losses and gradients of every tier, and of a recording's replay."""
    data = RandomPairs(4, [["source"]] * 2, written=2, labels=2, lowest=3)
    found = {}
    for tier in ("hooks", "prefix", "all", "replay"):
        interventions = made(model, [Site(1), Site(2, "mlp_output")])
        engine = Engine(model, interventions.placements)
        runs = JSD().needs.runs
        if tier == "replay":
            ready = Recording([engine], data, runs=runs).replay(engine)
        else:
            ready = prepare(engine, data, runs=runs, tier=tier, batch_size=2)
            assert ready.tier == tier
        found[tier] = outcome(interventions, ready, data.collate([2, 0, 3]), JSD())
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_split_by_accelerate(family, tmp_path):
    """Half of the blocks live on disk and visit the CPU for a forward: `device_map="auto"` where memory ends."""
    accelerate = pytest.importorskip("accelerate")
    model = tiny_model(family)
    expected = outcomes(model)
    split = deepcopy(model)
    names = [name for name, _ in split.named_modules() if name.split(".")[-1].isdigit() and name.count(".") == 2]
    assert len(names) >= 3
    outside = {name: "cpu" for name, module in split.named_children()}
    outer = names[0].split(".")[0]
    device_map = {name: "cpu" for name in outside if name != outer}
    device_map |= {f"{outer}.{name}": "cpu" for name, _ in split.get_submodule(outer).named_children()}
    device_map.pop(names[0].rsplit(".", 1)[0])
    device_map |= {name: "disk" if i % 2 else "cpu" for i, name in enumerate(names)}
    split = accelerate.dispatch_model(split, device_map, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    assert any(p.device.type == "meta" for p in split.parameters())
    for tier, got in outcomes(split).items():
        assert_same(expected[tier], got)


COMPILED = """
import torch
from tests.engine.test_split_and_compiled import FAMILIES, assert_same, outcomes, tiny_model

torch.set_num_threads(1)
for family in FAMILIES:
    model = tiny_model(family)
    expected = outcomes(model)
    for name, module in model.named_modules():
        if name.endswith("mlp"):
            module.compile(backend="aot_eager")
    for tier, got in outcomes(model).items():
        assert_same(expected[tier], got)
print("done")
"""


def test_a_model_whose_mlps_are_compiled(root):
    """In a fresh interpreter, without shape checks, which the compiler cannot read."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr[-2000:]
