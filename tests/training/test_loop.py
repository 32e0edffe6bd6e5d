"""The loop around Lightning: interruptions, checkpoints, what the log says, settings that cannot be."""

from __future__ import annotations

import logging
import signal
from dataclasses import replace
from functools import partial

import pytest
from pytorch_lightning.callbacks import Callback

from das.errors import InputError
from das.methods.das import das
from das.models.load import load_model
from das.tasks.name_gender import NameGender
from das.training.callbacks import Reports
from das.training.controls.run import ControlSettings
from das.training.fit import fit
from das.training.loop import TrainerSettings
from das.training.problem import DataSettings
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
