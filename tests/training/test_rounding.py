"""bfloat16 storage: half the memory, a gradient error below 2 % that is measured and reported."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from das.engine.engine import Engine
from das.engine.recording import Recording
from das.engine.tiers import prepare
from das.methods.das import das
from das.models.load import load_model
from das.objectives.jsd import JSD
from das.tasks.name_gender import NameGender
from das.training.controls.run import ControlSettings
from das.training.fit import fit
from das.training.loop import TrainerSettings
from das.training.problem import DataSettings
from das.training.rounding import rounding_error
from das.training.settings import FitSettings
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.engine.test_tiers import SITES, made, outcome
from tests.families import tiny_model
from tests.toy import save_toy_model

KEY = "engine/store_grad_rel_err"
SETTINGS = FitSettings(
    data=DataSettings(n_train=32, n_val=8, n_test=16, n_contrast=8),
    trainer=TrainerSettings(max_steps=3, batch_size=8, progress=False, store="bfloat16"),
    controls=ControlSettings(names=()),
)


@pytest.mark.parametrize("family", ["llama-gqa", "gemma2"])
@pytest.mark.parametrize("sites", ["block_output", "four_sites"])
def test_the_error_is_what_a_step_differs_by_and_small(family, sites):
    model, rows = tiny_model(family), [0, 2, 5]
    data = RandomPairs(8, [["source"]] * len(SITES[sites]), labels=2)
    ready, gradients = {}, {}
    for store in ("model", "bfloat16"):
        interventions = made(model, SITES[sites])
        engine = Engine(model, interventions.placements)
        ready[store] = prepare(engine, data, runs=JSD().needs.runs, tier="all", store=store)
        found = outcome(interventions, ready[store], data.collate(rows), JSD())[1]
        gradients[store] = torch.cat([g.flatten() for g in found])
    assert ready["bfloat16"].nbytes * 2 == ready["model"].nbytes
    assert ready["bfloat16"].rounded and not ready["model"].rounded and "bfloat16" in ready["bfloat16"].reason
    exact = gradients["model"]
    error = rounding_error(ready["bfloat16"], [data.collate(rows)], interventions, JSD(), 0)
    assert 1e-5 < error < 0.02
    assert error == pytest.approx(float((gradients["bfloat16"] - exact).norm() / exact.norm()), rel=1e-2)
    assert rounding_error(ready["model"], [data.collate(rows)], interventions, JSD(), 0) < 1e-5


def test_a_recording_is_rounded_like_what_is_kept():
    model, rows = tiny_model("llama-gqa"), [0, 2, 5]
    data = RandomPairs(8, [["source"]], labels=2)
    interventions = made(model, [Site(1)])
    engine = Engine(model, interventions.placements)
    whole, small = (
        Recording([engine], data, runs=JSD().needs.runs, store=store).replay(engine) for store in ("model", "bfloat16")
    )
    assert small.nbytes * 2 == whole.nbytes and small.rounded and not whole.rounded
    assert 1e-5 < rounding_error(small, [data.collate(rows)], interventions, JSD(), 0) < 0.02


def test_half_precision_models_are_not_rounded():
    model = tiny_model("llama-gqa", dtype=torch.bfloat16)
    engine = Engine(model, made(model, [Site(1)]).placements)
    assert not prepare(engine, RandomPairs(4, [["source"]]), tier="all", store="bfloat16").rounded


def test_a_fit_reports_it_and_is_otherwise_itself(tmp_path, caplog):
    model, site = load_model(save_toy_model(tmp_path / "toy")), Site(1, positions="span:name")
    with caplog.at_level("INFO", "das"):
        rounded = fit(model, NameGender(), partial(das, rank=2), site, settings=SETTINGS)
    assert 0 < rounded.metrics[KEY] < 0.02 and "changes the gradient" in caplog.text
    full = replace(SETTINGS, trainer=replace(SETTINGS.trainer, store="model"))
    exact = fit(model, NameGender(), partial(das, rank=2), site, settings=full)
    assert KEY not in exact.metrics
    overlap = torch.linalg.svdvals(exact.subspace.basis().T @ rounded.subspace.basis())
    assert float(overlap.min()) > 0.999


def test_a_gradient_that_is_zero_is_not_measured(caplog):
    model = tiny_model("llama-gqa")
    interventions = made(model, [Site(1)])
    data = RandomPairs(4, [["source"]])
    ready = prepare(Engine(model, interventions.placements), data, runs=JSD().needs.runs, tier="all", store="bfloat16")

    class Nothing:
        needs = JSD().needs

        def __call__(self, outputs, batch):
            loss = JSD()(outputs, batch)
            return replace(loss, total=loss.total * 0)

    with caplog.at_level("INFO", "das"):
        assert rounding_error(ready, [data.collate([0, 1])], interventions, Nothing(), 0) is None
    assert "zero before the first step" in caplog.text
