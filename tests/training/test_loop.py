"""The loop around Lightning: interruptions, checkpoints, what the log says, settings that cannot be."""

from __future__ import annotations

import logging
import signal
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import final

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from das.errors import InputError, RunExistsError
from das.methods.das import das
from das.metrics.logit_difference import LogitDifference
from das.models.load import load_model
from das.tasks.name_gender import NameGender
from das.training.callbacks import Reports
from das.training.controls.run import ControlSettings
from das.training.evaluate import evaluate
from das.training.fit import fit
from das.training.loop import TrainerSettings, prepared
from das.training.problem import DataSettings, Problem
from das.training.settings import FitSettings
from das.types import Site
from tests.toy import save_toy_model

SITE = Site(1, positions="span:name")
RANK2 = partial(das, rank=2)
SETTINGS = FitSettings(
    data=DataSettings(n_train=32, n_val=8, n_test=16, n_contrast=8, response_tokens=4),
    trainer=TrainerSettings(max_steps=6, batch_size=8, progress=False, checkpoint_every=2),
    controls=ControlSettings(names=()),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: it is ignored where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_after_resuming_only_the_newest_checkpoint_remains(model, tmp_path):
    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, *_: object) -> None:
            if trainer.global_step == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, run_dir=tmp_path, callbacks=[Interrupt()])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Lightning ignores the next one
    assert [p.stem for p in (tmp_path / "checkpoints").glob("*.ckpt")] == ["step=2"]
    fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, run_dir=tmp_path)
    assert [p.stem for p in (tmp_path / "checkpoints").glob("*.ckpt")] == ["step=6"]


def test_progress_is_in_the_log(model, caplog):
    with caplog.at_level(logging.INFO, "das"):
        fit(model, NameGender(), RANK2, SITE, settings=replace(SETTINGS, controls=ControlSettings(("wrong_site",))))
    assert "training: 6 steps, batches of 8" in caplog.text and "control wrong_site: " in caplog.text


def test_reports_come_at_their_time(model, caplog):
    with caplog.at_level(logging.INFO, "das"):
        fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, callbacks=[Reports(seconds=0.0)])
    assert "step 6 of 6, loss " in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [{"val_every": -1}, {"checkpoint_every": -1}, {"extra": {"max_step": 1}}, {"extra": {"devices": 2}}],
    ids=str,
)
def test_trainer_settings_are_refused_early(wrong):
    with pytest.raises(InputError, match=r"negative|unknown argument"):
        TrainerSettings(**wrong)


@final
class CutShort(Callback):
    """Ends a run within its fourth step."""

    def on_train_batch_end(self, trainer, *_: object) -> None:
        """Like Ctrl-C."""
        if trainer.global_step == 3:
            raise KeyboardInterrupt


def test_a_damaged_checkpoint_is_passed_over(model, tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, run_dir=tmp_path, callbacks=[CutShort()])
    [file] = (tmp_path / "checkpoints").glob("*.ckpt")
    file.write_bytes(file.read_bytes()[:3000])
    with caplog.at_level(logging.WARNING, "das"):
        again = fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, run_dir=tmp_path)
    fresh = fit(model, NameGender(), RANK2, SITE, settings=SETTINGS)
    assert "is damaged" in caplog.text and not again.metrics["train/resumed"]
    assert torch.equal(again.subspace.basis(), fresh.subspace.basis())


def test_a_run_is_not_resumed_in_another_model(model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, run_dir=tmp_path, callbacks=[CutShort()])
    other = deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    with pytest.raises(RunExistsError, match="model: "):
        fit(other, NameGender(), RANK2, SITE, settings=SETTINGS, run_dir=tmp_path)


def test_validation_numbers_are_of_the_validation_entities(model):
    metrics = {"gap": LogitDifference()}
    found = fit(model, NameGender(), RANK2, SITE, settings=SETTINGS, metrics=metrics)
    problem, ways = Problem(model, NameGender(), data=SETTINGS.data), found.subspace.interventions
    for split, prefix in (("val", "val/"), ("test", "")):
        data = problem.dataset(split, ways)
        ready = prepared(problem.engine(ways), data, SETTINGS.trainer)
        want = evaluate(ready, data, ways, metrics, 8)
        assert found.metrics[f"{prefix}gap"] == pytest.approx(want["gap"], abs=1e-5)
