"""Metrics that compare with frozen runs get them: in every tier, beside every control, and in the unmodified model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from das.errors import CapabilityError
from das.interventions.sets import InterventionSet
from das.methods.full_vector import full_vector
from das.metrics.base import runs_of
from das.metrics.fidelity import Fidelity
from das.metrics.fldd import FLDD
from das.metrics.log_odds_ratio import LogOddsRatio
from das.models.load import load_model
from das.tasks.name_gender import NameGender
from das.training.controls.run import ControlSettings
from das.training.evaluate import evaluate
from das.training.fit import fit
from das.training.loop import TrainerSettings, prepared
from das.training.measure import measurable
from das.training.problem import DataSettings, Problem
from das.training.settings import FitSettings
from das.types import Site
from tests.toy import save_toy_model

DATA = DataSettings(n_train=8, n_val=8, n_test=16)
METRICS = {"fldd": FLDD(), "log_odds_ratio": LogOddsRatio(), "fidelity": Fidelity()}
LAST = Site(2, positions="last")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


def test_swapping_all_of_the_last_layer_is_the_counterfactual_run(model):
    settings = FitSettings(
        data=DATA, controls=ControlSettings(("no_intervention", "wrong_site"), wrong_positions="first")
    )
    found = fit(model, NameGender(), full_vector, LAST, settings=settings, metrics=METRICS).metrics
    assert found["fidelity"] == pytest.approx(0.0, abs=1e-6) and found["val/fidelity"] == pytest.approx(0.0, abs=1e-6)
    for control in ("no_intervention", "wrong_site"):  # the first token of the last layer decides nothing
        assert found[f"control/{control}/fidelity"] > 1e-3
        assert found[f"control/{control}/fldd_changed"] == pytest.approx(0.0, abs=1e-6)
        assert found[f"control/{control}/log_odds_ratio"] == pytest.approx(0.0, abs=1e-6)
    assert abs(found["log_odds_ratio_changed"]) > 1e-3 and found["log_odds_ratio_unchanged"] == 0.0


def test_tiers_agree(model):
    problem = Problem(model, NameGender(), data=DATA)
    swap = InterventionSet([(Site(1, positions="span:name"), full_vector(32))])
    data, engine = problem.dataset("test", swap), problem.engine(swap)
    numbers = []
    for tier in ("hooks", "prefix", "all"):
        ready = prepared(engine, data, TrainerSettings(tier=tier), runs_of(METRICS))
        numbers.append(evaluate(ready, data, swap, METRICS, batch_size=5))
    kept = {k: v for k, v in numbers[0].items() if v == v}
    assert len(kept) == len(numbers[0]) - 1  # fldd of unchanged pairs is a ratio to nothing
    assert all({k: n[k] for k in kept} == pytest.approx(kept, abs=1e-4) for n in numbers[1:])


class Untargeted(NameGender):
    """The same pairs, without saying that the source is itself the counterfactual."""

    def pairs(self, split, n, seed):
        return [replace(pair, target=None) for pair in super().pairs(split, n, seed)]


def test_pairs_without_a_counterfactual_run_are_refused_before_training(model):
    problem, swap = Problem(model, Untargeted(), data=DATA), InterventionSet([(LAST, full_vector(32))])
    assert measurable(problem, swap, {"fldd": FLDD()}).test is not None
    with pytest.raises(CapabilityError, match=r"metric 'fidelity'.*Got Fidelity.*Leave it out"):
        measurable(problem, swap, METRICS)


@pytest.mark.parametrize("looks", [True, False])
def test_only_a_metric_that_looks_at_values_needs_them(model, looks):
    class Choosing:
        best, worst, values = 1.0, 0.0, looks

        def __call__(self, outputs, batch):
            return batch.changed.double()

    problem = Problem(model, NameGender(), data=DATA)
    swap = InterventionSet([(LAST, full_vector(32))])
    if looks:
        with pytest.raises(CapabilityError, match=r"'mine'.*without a value"):
            measurable(problem, swap, {"mine": Choosing()})
    else:
        assert measurable(problem, swap, {"mine": Choosing()}).test is not None
