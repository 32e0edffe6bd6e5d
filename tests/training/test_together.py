"""Interventions trained in one pass end where separate trainings end."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch

import das
from das.engine.tiers import prepare
from das.errors import ConfigError, NonFiniteLossError
from das.objectives import objective
from das.tasks.name_gender import NameGender
from das.training.loop import train
from das.training.problem import Problem
from das.training.together import Member, train_together
from das.types import Site
from tests.toy import save_toy_model

SETTINGS = das.TrainerSettings(max_steps=5, batch_size=6, progress=False)
DATA = das.DataSettings(n_train=20, n_contrast=10, response_tokens=3)


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    return Problem(das.load_model(save_toy_model(tmp_path_factory.mktemp("toy"))), NameGender(), data=DATA)


def members(problem, methods, places, objectives):
    """One member per method, place and seed, on the same rows."""
    found = []
    for seed, (name, where, wanted) in enumerate(zip(methods, places, objectives, strict=True)):
        method = partial(das.method(name), **({"rank": 1 + seed} if name == "das" else {}))
        recipe = das.FitSettings(trainer=SETTINGS, seed=seed).recipe(method, Site(1, positions=where), False, None)
        placed, chosen = recipe.place(problem), objective(wanted)
        data = problem.dataset("train", placed, chosen.needs)
        engine = problem.engine(placed, chosen.needs.watch)
        ready = prepare(engine, data, runs=chosen.needs.runs, tier="all")
        found.append(Member(placed, ready, data, chosen, seed))
    return found


CASES = {
    "ranks and seeds": (["das"] * 3, ["last", "span:name", "last"], ["counterfactual_ce"] * 3),
    "random gates, penalties": (["dbm", "boundless", "das"], ["last"] * 3, ["counterfactual_ce"] * 3),
    "contrasts": (["cdas"] * 2, ["all"] * 2, ["jsd"] * 2),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_equal_to_separate_runs(problem, case, accumulate):
    settings, optimizer = replace(SETTINGS, accumulate=accumulate), das.AdamW(lr=0.03, clip=0.05)
    together = members(problem, *CASES[case])
    alone = [replace(m, interventions=deepcopy(m.interventions)) for m in together]
    before = [deepcopy(m.interventions.state_dict()) for m in together]
    state = torch.random.get_rng_state()
    assert train_together(together, optimizer, settings) == 5
    assert torch.equal(torch.random.get_rng_state(), state)
    for start, joint, own in zip(before, together, alone, strict=True):
        train(
            own.interventions, own.ready.engine, own.data, own.objective, optimizer, settings, seed=own.seed,
            ready=own.ready,
        )  # fmt: skip
        for name, value in own.interventions.state_dict().items():
            got = joint.interventions.state_dict()[name]
            assert torch.allclose(got, value, atol=2e-5), (name, float((got - value).abs().max()))
        assert any(not torch.allclose(start[k], v, atol=1e-3) for k, v in own.interventions.state_dict().items())


def test_a_broken_loss_stops_all_at_their_last_good_state(problem):
    together = members(problem, *CASES["ranks and seeds"])
    before = deepcopy(together[0].interventions.state_dict())
    broken = together[1].interventions[0]
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="training 1"):
        train_together(together, das.AdamW(), SETTINGS)
    assert all(torch.equal(before[k], v) for k, v in together[0].interventions.state_dict().items())


def test_datasets_of_different_lengths_are_refused(problem):
    mixed = members(problem, ["das", "cdas"], ["last"] * 2, ["counterfactual_ce", "jsd"])
    with pytest.raises(ConfigError, match="equally many batches"):
        train_together(mixed, das.AdamW(), replace(SETTINGS, batch_size=4))


def test_all_members_are_left_in_eval_mode(problem):
    together = members(problem, *CASES["random gates, penalties"])
    train_together(together, das.AdamW(), SETTINGS)
    assert not any(m.training for member in together for m in member.interventions.modules())
