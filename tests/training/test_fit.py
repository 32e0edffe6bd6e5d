"""`fit` on a random model with a word tokenizer: keys, determinism, checkpoints, resuming, broken losses, controls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jaxtyping
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from das.artifacts.subspace import Subspace
from das.errors import (
    CapabilityError,
    ConfigError,
    EmptySplitError,
    InputError,
    NonFiniteLossError,
    PositionError,
    RunExistsError,
    SiteError,
)
from das.methods import method as das_method
from das.methods.cdas import cdas
from das.methods.das import das
from das.methods.full_vector import full_vector
from das.methods.loreft import loreft
from das.models.load import load_model
from das.objectives.base import Loss, Needs
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.dpo import DPO
from das.objectives.jsd import JSD
from das.objectives.lm_loss import LMLoss
from das.objectives.readout_mse import ReadoutMSE
from das.tasks.name_gender import NameGender
from das.training.controls.run import ControlSettings
from das.training.factors import factors_of
from das.training.fit import fit
from das.training.loop import TrainerSettings
from das.training.optim import AdamW
from das.training.problem import DataSettings, Problem
from das.training.settings import FitSettings
from das.types import Site
from tests.toy import save_toy_model

SITE = Site(1, positions="span:name")
DATA = DataSettings(n_train=32, n_val=8, n_test=16, n_contrast=8, response_tokens=4)
NONE = ControlSettings(names=())
SETTINGS = FitSettings(
    data=DATA, trainer=TrainerSettings(max_steps=6, batch_size=8, progress=False, checkpoint_every=2), controls=NONE
)
RANK2 = partial(das, rank=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


def basis(model, settings=SETTINGS, **more) -> torch.Tensor:
    return fit(model, NameGender(), RANK2, SITE, settings=settings, **more).subspace.basis()


def test_reports_every_promised_key(model):
    settings = replace(SETTINGS, controls=ControlSettings())
    found = fit(model, NameGender(), RANK2, SITE, settings=settings)
    promised = {"iia", "iia_changed", "iia_unchanged", "iia_full_vocab", "model/accuracy", "train/steps", "seed"}
    promised |= {"control/no_intervention/iia", "control/random_subspace/iia", "control/random_subspace/iia_changed"}
    promised |= {f"control/{c}/iia_changed" for c in ("full_vector", "wrong_site", "shuffled_labels")}
    promised |= {"train/seconds", "engine/tier", "val/iia_changed"}
    assert promised <= set(found.metrics)
    assert found.metrics["train/steps"] == 6 and set(found.subspace.controls) == {"wrong_site", "shuffled_labels"}
    assert found.subspace.controls["wrong_site"].site.positions == "last"


def test_same_seed_same_basis_and_other_seed_another(model):
    first = basis(model)
    torch.manual_seed(99)
    assert torch.equal(first, basis(model))
    assert not torch.allclose(first, basis(model, replace(SETTINGS, seed=1)))


@pytest.mark.parametrize("method", ["das", "cdas"])
def test_tiers_and_padding_sides_learn_the_same(model, method):
    def learn(tier: str, side: str) -> torch.Tensor:
        settings = replace(
            SETTINGS, trainer=replace(SETTINGS.trainer, tier=tier, max_steps=4), data=replace(DATA, padding_side=side)
        )
        builder, objective = (RANK2, None) if method == "das" else (partial(cdas, rank=2), JSD())
        return fit(model, NameGender(), builder, SITE, settings=settings, objective=objective).subspace.basis()

    reference = learn("hooks", "left")
    assert torch.allclose(reference, learn("all", "left"), atol=1e-4)
    assert torch.allclose(reference, learn("prefix", "right"), atol=1e-4)


def test_a_method_is_trained_by_its_own_objective_unless_told_otherwise(model):
    def trained(method, **more):
        return fit(model, NameGender(), method, SITE, settings=SETTINGS, **more).subspace.training

    assert trained(RANK2)["objective"] == "counterfactual_ce"
    own = trained(das_method("cdas", rank=1))
    assert (own["objective"], own["rows"]) == ("jsd", "contrasts")
    wrapped = trained(lambda width: cdas(width, rank=1))
    assert (wrapped["objective"], wrapped["rows"]) == ("jsd", "contrasts")
    assert trained(partial(partial(cdas), rank=1), objective=CounterfactualCE())["objective"] == "counterfactual_ce"
    assert trained(full_vector)["objective"] is None, "nothing is trained"


def test_several_sites_are_trained_together(model):
    found = fit(model, NameGender(), RANK2, [SITE, replace(SITE, layer=2)], settings=SETTINGS)
    assert [p.write.layer for p in found.subspace.interventions.placements] == [1, 2]
    assert len(found.subspace.factors) == 2


def test_tied_sites_share_one_intervention(model):
    sites = [SITE, replace(SITE, layer=2)]
    found = fit(model, NameGender(), RANK2, sites, tied=True, settings=SETTINGS)
    first, second = found.subspace.interventions
    assert first is second and len(list(found.subspace.interventions.distinct())) == 1
    narrow = replace(SITE, layer=2, component="head_attention_value_output", heads=(0,))
    with pytest.raises(ConfigError, match="equally wide"):
        fit(model, NameGender(), RANK2, [SITE, narrow], tied=True, settings=SETTINGS)


def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(model):
    late = replace(SITE, positions="generated", source_positions="last")
    found = fit(model, NameGender(), partial(cdas, rank=1), late, settings=SETTINGS, objective=JSD())
    assert "labels of one token come before" in found.metrics["iia/not_measured"] and "iia" not in found.metrics
    assert found.metrics["train/steps"] == 6 and found.subspace.factors[0] is not None


@pytest.mark.parametrize(
    ("objective", "told"),
    [(JSD("pairs"), "32 of 32 rows without a target"), (ReadoutMSE("value"), "without a value")],
)
def test_data_without_what_the_objective_looks_at_are_refused_before_anything_is_computed(
    model, monkeypatch, objective, told
):
    class Bare(NameGender):
        def pairs(self, split, n, seed):
            return [replace(pair, target=None) for pair in super().pairs(split, n, seed)]

    def touched(*args, **kwargs):
        raise AssertionError("the model ran")

    monkeypatch.setattr(type(model), "forward", touched)
    with pytest.raises(CapabilityError, match=told):
        fit(model, Bare(), RANK2, SITE, settings=SETTINGS, objective=objective)


@pytest.mark.parametrize("source_positions", [None, "span:name"])
def test_a_source_free_method_may_write_what_cannot_be_interchanged(model, source_positions):
    """Two mentions of a name cannot be lined up with all tokens; only what reads a source in training has to care."""
    site = Site(0, positions="all", source_positions=source_positions)
    found = fit(model, NameGender(), partial(loreft, rank=2), site, settings=SETTINGS, objective=LMLoss("elicit"))
    assert found.metrics["train/steps"] == 6 and found.subspace.factors[0] is not None
    if source_positions is None:
        assert "iia" in found.metrics and "iia/not_measured" not in found.metrics
    else:
        assert "cannot be aligned" in found.metrics["iia/not_measured"] and "iia" not in found.metrics
        with pytest.raises(PositionError, match="cannot be aligned"):
            fit(model, NameGender(), RANK2, site, settings=SETTINGS)


def test_methods_without_parameters_take_no_step(model):
    found = fit(model, NameGender(), full_vector, SITE, settings=SETTINGS)
    assert found.metrics["train/steps"] == 0


def test_checkpoints_hold_the_interventions_only(model, tmp_path):
    basis(model, run_dir=tmp_path)
    [path] = (tmp_path / "checkpoints").glob("*.ckpt")
    saved = torch.load(path, weights_only=False)
    assert set(saved["state_dict"]) == {"interventions.interventions.0.featurizer.weight"}
    assert path.stat().st_size < 100_000


_KILLED = """
import os, signal, sys
from functools import partial
from pytorch_lightning.callbacks import Callback
from das.models.load import load_model
from tests.training.test_fit import NONE, RANK2, SETTINGS, SITE, NameGender, fit, replace

class Kill(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

fit(load_model(sys.argv[1]), NameGender(), RANK2, SITE, settings=SETTINGS, run_dir=sys.argv[2], callbacks=[Kill()])
"""


class Stop(Callback):
    """Breaks off before the steps given, once each."""

    def __init__(self, *steps: int) -> None:
        self.steps = list(steps)

    def on_train_batch_start(self, trainer, *_):
        if self.steps and trainer.global_step == self.steps[0]:
            self.steps.pop(0)
            raise RuntimeError("power cut")


@pytest.mark.parametrize(("every", "cuts"), [(1, (4, 5)), (2, (5, 7)), (4, (6, 7, 9))])
def test_broken_off_several_times_equals_uninterrupted(model, tmp_path, every, cuts):
    trainer = replace(SETTINGS.trainer, max_steps=11, checkpoint_every=every)
    settings, stop = replace(SETTINGS, trainer=trainer), Stop(*cuts)
    straight = basis(model, settings)
    for _ in cuts:
        with pytest.raises(RuntimeError, match="power cut"):
            basis(model, settings, run_dir=tmp_path, callbacks=[stop])
    assert float((basis(model, settings, run_dir=tmp_path) - straight).abs().max()) <= 1e-6


def test_a_folder_started_with_other_settings_is_refused(model, tmp_path):
    with pytest.raises(RuntimeError):
        basis(model, run_dir=tmp_path, callbacks=[Stop(3)])
    for change in ({"optimizer": AdamW(lr=0.9)}, {"seed": 1}, {"data": replace(DATA, n_train=24)}):
        with pytest.raises(RunExistsError, match="started with something else"):
            basis(model, replace(SETTINGS, **change), run_dir=tmp_path)
    with pytest.raises(RunExistsError, match="objective"):
        basis(model, run_dir=tmp_path, objective=CounterfactualCE("contrasts"))
    same = replace(SETTINGS, trainer=replace(SETTINGS.trainer, checkpoint_every=1, tier="hooks"))
    assert torch.allclose(basis(model, same, run_dir=tmp_path), basis(model), atol=1e-5)


def test_killed_and_resumed_equals_uninterrupted(model, tmp_path):
    straight = basis(model, run_dir=tmp_path / "straight")
    command = [sys.executable, "-c", _KILLED, str(model.name_or_path), str(tmp_path / "killed")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert [p.stem for p in (tmp_path / "killed" / "checkpoints").glob("*.ckpt")] == ["step=4"]
    resumed = fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, run_dir=tmp_path / "killed")
    assert resumed.metrics["train/resumed"]
    assert float((resumed.subspace.basis() - straight).abs().max()) <= 1e-6


class Breaking:
    """Cross-entropy that turns into NaN at its third call."""

    needs = Needs()

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs, batch):
        self.calls += 1
        loss = outputs.logits.float().logsumexp(-1).mean()
        return Loss(loss * float("nan") if self.calls == 3 else loss, len(batch))


def test_a_broken_loss_stops_and_keeps_the_last_good_state(model, tmp_path):
    with pytest.raises(NonFiniteLossError, match="step 2"):
        fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, objective=Breaking(), run_dir=tmp_path)
    kept = Subspace.load(tmp_path / "last_good", model)
    assert torch.isfinite(kept.basis()).all() and not (tmp_path / "subspace").exists()


def test_factors_equal_a_computation_by_hand(model):
    task, problem = NameGender(), Problem(model, NameGender(), data=DATA)
    interventions = SETTINGS.recipe(RANK2, SITE, False, CounterfactualCE()).place(problem)
    [found] = factors_of(problem, interventions)
    direction, seen = interventions[0].featurizer.basis.detach(), []
    handle = model.model.layers[1].register_forward_hook(lambda m, args, out: seen.append(out))
    by_hand = []
    for prompt, label in task.prompts("train", 2 * DATA.n_contrast, 0):
        if label != task.positive:
            continue
        encoded = problem.encoder.encode(prompt)
        model(torch.tensor([encoded.ids]))
        where = [i for mention in encoded.spans["name"] for i in mention]
        by_hand.append((seen.pop()[0, where] @ direction).mean(0))
    handle.remove()
    assert torch.allclose(found.positive, torch.stack(by_hand).mean(0), atol=1e-5)
    assert torch.allclose(found.positive_spread, torch.stack(by_hand).std(0, unbiased=False), atol=1e-5)
    assert found.count == len(by_hand) and found.labels == (" she", " he")


def test_factors_at_response_tokens_are_read_in_the_contrasts_responses(model):
    problem = Problem(model, NameGender(), data=DATA)
    interventions = SETTINGS.recipe(RANK2, replace(SITE, positions="generated"), False, CounterfactualCE()).place(
        problem
    )
    [found] = factors_of(problem, interventions)
    direction, by_hand = interventions[0].featurizer.basis.detach(), []
    for written in problem.contrasts("train"):
        encoded = problem.encoder.encode(written.contrast.positive)
        states = model(torch.tensor([[*encoded.ids, *written.positive_ids]]), output_hidden_states=True).hidden_states
        by_hand.append((states[2][0, len(encoded) :] @ direction).mean(0))
    assert torch.allclose(found.positive, torch.stack(by_hand).mean(0), atol=1e-5)
    assert not torch.allclose(found.positive, found.negative, atol=1e-3) and found.count == len(by_hand)


def test_factors_are_none_where_prompts_do_not_have_the_positions(model, caplog):
    problem = Problem(model, NameGender(), data=DATA)
    interventions = SETTINGS.recipe(RANK2, [SITE, replace(SITE, positions="index:60")], False, JSD()).place(problem)
    there, nowhere = factors_of(problem, interventions)
    assert there is not None and nowhere is None
    assert "no factors at" in caplog.text and "'index:60' is out of range" in caplog.text


def test_data_that_cannot_teach_a_method_anything_is_refused(model):
    given = {"task": NameGender(), "site": SITE, "settings": SETTINGS}
    with pytest.raises(CapabilityError, match=r"loreft reads no source.*Use objective=lm_loss") as error:
        fit(model, method=partial(loreft, rank=2), objective=CounterfactualCE(), **given)
    assert "interchange pairs" in str(error.value)
    with pytest.raises(CapabilityError, match=r"das takes no factor.*rows=contrast_preferences"):
        fit(model, method=RANK2, objective=DPO(rows="preferences"), **given)


def test_what_people_give_by_mistake(model, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # what a user without the test run's checks sees
    given = {"site": SITE, "settings": SETTINGS}
    with pytest.raises(InputError, match=r"the model must be loaded\. Got 'tiny'\. Give das\.load_model"):
        fit("tiny", NameGender(), RANK2, **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"must be an instance\. Got NameGender\. Give NameGender\(\)"):
        fit(model, NameGender, RANK2, **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="this is no task"):
        fit(model, object(), RANK2, **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"this is no method\. Got Intervention"):
        fit(model, NameGender(), das(32), **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one site"):
        fit(model, NameGender(), RANK2, [], settings=SETTINGS)


def test_a_fit_is_printed_in_one_line(model):
    found = fit(model, NameGender(), RANK2, [SITE, replace(SITE, layer=2)], settings=SETTINGS)
    assert repr(found).startswith("Fit(Subspace(das of rank 2 at layer 1 block_output @ span:name and 1 more in ")
    assert "iia_changed" in repr(found) and len(repr(found)) < 300


def test_bad_input_is_refused_before_any_work(model):
    with pytest.raises(SiteError, match="layers 0 to 2"):
        fit(model, NameGender(), RANK2, replace(SITE, layer=3), settings=SETTINGS)
    with pytest.raises(EmptySplitError, match="n_train"):
        DataSettings(n_train=0)
    with pytest.raises(EmptySplitError, match="at least 1"):
        TrainerSettings(max_steps=0)
