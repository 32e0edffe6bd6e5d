"""What das does with a seed of its own leaves the caller's random state as it was, on the CPU and on every GPU."""

from __future__ import annotations

import pytest
import torch

from das.artifacts.subspace import Subspace
from das.interventions.serial import from_spec, to_spec
from das.methods import method
from das.models.load import load_model
from das.models.recipes.base import isolated
from das.seeding import seeded
from das.steering.steer import steer
from das.tasks.name_gender import NameGender
from das.training.controls.run import ControlSettings
from das.training.fit import fit
from das.training.loop import TrainerSettings
from das.training.problem import DataSettings
from das.training.settings import FitSettings
from das.types import Site
from tests.toy import save_toy_model

DATA = DataSettings(n_train=16, n_val=8, n_test=8, n_contrast=8, response_tokens=2)
TRAINER = TrainerSettings(max_steps=2, batch_size=8, progress=False)
SETTINGS = FitSettings(data=DATA, trainer=TRAINER, controls=ControlSettings(names=("random_subspace",)))
SITE = Site(1, positions="span:name")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def untouched(monkeypatch):
    """Fails unless the random state at the end is that of the beginning, and every GPU was left alone."""

    def refuse(*_):
        raise AssertionError("the generators of the GPUs were reseeded")

    for name in ("manual_seed", "manual_seed_all", "seed", "seed_all"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    torch.default_generator.manual_seed(7)
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


def test_the_check_itself_can_fail(untouched):
    with pytest.raises(AssertionError, match="reseeded"):
        torch.manual_seed(7)


@pytest.mark.parametrize(("name", "settings"), [("das", {"rank": 2}), ("diff_means", {})])
def test_learning_loading_and_steering(model, tmp_path, untouched, name, settings):
    made = fit(model, NameGender(), method(name, **settings), SITE, settings=SETTINGS).subspace
    loaded = Subspace.load(made.save(tmp_path / "s"), model)
    with steer(model, loaded, 1.0) as steering:
        steering.generate(["One day [[Tim]] was"], 2)


@pytest.mark.parametrize("name", ["das", "loreft", "consreft", "sae", "steering_vector"])
def test_rebuilding(untouched, name):
    with seeded(0):
        spec = to_spec(method(name)(width=8))
    from_spec(spec)


def test_seeds_are_the_same_inside_whatever_is_outside(untouched):
    def drawn() -> float:
        with seeded(3):
            return float(torch.rand(()))

    first = drawn()
    with seeded(4):
        assert drawn() == first != float(torch.rand(()))
    with pytest.raises(KeyError), seeded(3):
        raise KeyError


def test_making_a_model_of_ones_own(untouched):
    with isolated(3):
        torch.rand(3)
