"""Each control is what its name says, for whatever it stands beside."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, final

import pytest
import torch

from das.context import Context
from das.edits.add import Add
from das.edits.swap import Swap
from das.errors import CapabilityError, PositionError, UnknownChoiceError
from das.featurizers.identity import Identity
from das.featurizers.rotation import Rotation
from das.gates.base import Gate, Selective
from das.geometry import principal_cosines
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.methods.cdas import cdas
from das.methods.das import das
from das.methods.diff_means import DiffMeans
from das.methods.random_subspace import random_subspace
from das.metrics.iia import IIA
from das.metrics.logit_difference import LogitDifference
from das.models.load import load_model
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.jsd import JSD
from das.objectives.lm_loss import LMLoss
from das.steering.random_like import random_like
from das.tasks.name_gender import NameGender
from das.training.controls.base import Subject, control, names
from das.training.controls.run import ControlSettings, measure_controls
from das.training.controls.wrong_site import elsewhere
from das.training.evaluate import evaluate, natively_correct
from das.training.fit import fit
from das.training.interchange import interchange_of
from das.training.loop import TrainerSettings, prepared
from das.training.problem import DataSettings, Problem
from das.training.settings import FitSettings
from das.training.shuffle import shuffled
from das.types import CounterfactualPair, Prompt, Site
from tests.toy import save_toy_model

SITE = Site(1, positions="span:name")
DATA = DataSettings(n_train=32, n_val=8, n_test=16, n_contrast=8, response_tokens=4)
TRAINER = TrainerSettings(max_steps=3, batch_size=8, progress=False)
SETTINGS = FitSettings(data=DATA, trainer=TRAINER)
RANK2 = partial(das, rank=2)


@pytest.fixture(scope="module")
def problem(tmp_path_factory) -> Problem:
    model = load_model(save_toy_model(tmp_path_factory.mktemp("toy")))
    return Problem(model, NameGender(), data=DATA)


def recipe(method: Any = RANK2, *sites: Site, objective: Any = None):
    return SETTINGS.recipe(method, sites or SITE, False, objective or CounterfactualCE())


def subject(problem: Problem, method: Any = RANK2, *sites: Site) -> Subject:
    made = recipe(method, *sites)
    return Subject(problem, interchange_of(made.place(problem)), made)


def test_all_controls_are_found_and_explained():
    assert set(names()) == {"no_intervention", "random_subspace", "full_vector", "wrong_site", "shuffled_labels"}
    assert [control(n).trained for n in names()] == [False] * 3 + [True] * 2
    assert all(control(n).title and control(n).meaning for n in names())
    with pytest.raises(UnknownChoiceError, match="unknown control"):
        ControlSettings(names=("placebo",))


def test_random_subspaces_have_the_learned_dimension_and_are_drawn_anew(problem):
    drawn = control("random_subspace").make(subject(problem, partial(das, rank=3)))
    bases = [x[0].featurizer.basis for x in drawn]
    assert len(bases) == 5 and all(b.shape == (32, 3) for b in bases)
    for i, one in enumerate(bases):
        assert torch.allclose(one.T @ one, torch.eye(3), atol=1e-5)
        assert all(float(principal_cosines(one, other).max()) < 0.99 for other in bases[:i])


def test_random_subspaces_are_not_where_a_training_starts_and_are_those_that_steer(problem):
    made = subject(problem)
    drawn = control("random_subspace").make(made)
    start = made.learned[0].featurizer.basis.detach()
    assert all(float(principal_cosines(one[0].featurizer.basis, start).max()) < 0.99 for one in drawn)
    for seed, one in enumerate(drawn):
        assert torch.equal(one[0].featurizer.basis, random_like(made.learned, seed)[0].featurizer.basis)


@final
class TwoOpen(Gate, Selective):
    """Two coordinates are open."""

    def forward(self, z: torch.Tensor, h: torch.Tensor, ctx: Context) -> tuple[torch.Tensor, dict]:
        return self.support().to(z)[None, None], {}

    def support(self) -> torch.Tensor:
        return torch.arange(32) < 2

    def params(self) -> dict[str, Any]:
        return {}


def test_random_directions_come_from_the_seed_of_the_run_unless_they_have_their_own(problem):
    def drawn(run: int, **own: int) -> torch.Tensor:
        settings = replace(SETTINGS, seed=run)
        placed = settings.recipe(partial(random_subspace, rank=2, **own), SITE, False, None).place(problem)
        return placed[0].featurizer.basis

    assert torch.equal(drawn(0), drawn(0)) and not torch.allclose(drawn(0), drawn(1), atol=0.1)
    assert torch.equal(drawn(0, seed=5), drawn(1, seed=5))


def test_coordinates_that_a_gate_closes_do_not_count(problem):
    def masked(width: int) -> Intervention:
        return Intervention(Identity(width), Swap(), TwoOpen(), name="masked")

    for drawn in control("random_subspace").make(subject(problem, masked)):
        assert drawn[0].rank == 2 and isinstance(drawn[0].featurizer, Rotation)


def test_tied_placements_share_their_random_subspace(problem):
    shared = das(32, 2)
    tied = InterventionSet([(SITE, shared), (replace(SITE, layer=2), shared)])
    [first, *_] = control("random_subspace").make(Subject(problem, tied))
    assert first[0] is first[1]


def test_the_full_vector_is_the_whole_activation(problem):
    [swapped] = control("full_vector").make(subject(problem))
    h, s = torch.randn(2, 3, 4, 32)
    assert torch.allclose(swapped[0](h, {"source": s}).activation, s, atol=1e-6)
    data = problem.dataset("test", swapped)
    ready = prepared(problem.engine(swapped), data, TRAINER)
    whole = evaluate(ready, data, swapped, {"ld": LogitDifference()})
    everything = interchange_of(recipe(partial(das, rank=32)).place(problem))
    assert evaluate(ready, data, everything, {"ld": LogitDifference()})["ld"] == pytest.approx(whole["ld"], abs=1e-3)


@pytest.mark.parametrize("positions", ["last", "index:-1", "l1", "l2"])
def test_the_wrong_site_shares_no_token_with_the_right_one(problem, positions):
    assert elsewhere(problem, recipe(RANK2, replace(SITE, positions=positions)), "last").sites[0].positions == "first"


@pytest.mark.parametrize("positions", ["all", "prompt", "from:0"])
def test_where_every_token_is_right_there_is_no_wrong_site(problem, positions):
    with pytest.raises(CapabilityError, match=r"share tokens with the right ones.*controls\.wrong_positions"):
        elsewhere(problem, recipe(RANK2, replace(SITE, positions=positions)), "last")


def test_one_row_that_shares_a_token_makes_a_site_no_other_site(problem):
    short, long = (" ".join(["Tim"] + ["ran"] * n) for n in (0, 3))
    spans = {"name": ((0, 3),)}
    rows = [
        CounterfactualPair(Prompt(t, spans), {"source": Prompt(t, spans)}, " he", " she") for t in (long, short, long)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "dataset", lambda self, split, x: self.pairs(rows, x, None))
        with pytest.raises(CapabilityError, match="no other positions"):
            elsewhere(problem, recipe(), "last")


def test_a_position_that_some_rows_lack_is_no_other_site(problem, monkeypatch):
    """Leaving those rows out would measure the control on other rows than the subspace."""
    texts = ("Tim ran home again", "Tim ran home", "Sue ran home again")
    rows = [
        CounterfactualPair(Prompt(t, {"name": ((0, 3),)}), {"source": Prompt(t, {"name": ((0, 3),)})}, " he", " she")
        for t in texts
    ]
    monkeypatch.setattr(Problem, "dataset", lambda self, split, x: self.pairs(rows, x, None))
    tried = f"index:{len(problem.encoder.encode(rows[0].base)) - 1}"  # what the longer prompts end with
    for strict, error, told in ((True, PositionError, "out of range"), (False, CapabilityError, "some rows lack them")):
        with pytest.raises(error, match=told):
            elsewhere(Problem(problem.model, problem.task, data=replace(DATA, strict=strict)), recipe(), tried)


def test_a_control_at_positions_that_a_row_lacks_is_not_measured_and_the_others_are(problem):
    """Such a control comes with a saved subspace, learned on other prompts."""
    own = subject(problem)
    test = problem.dataset("test", own.learned)
    ready = prepared(problem.engine(own.learned), test, TRAINER)
    far = interchange_of(recipe(RANK2, replace(SITE, positions="index:60")).place(problem))
    found = measure_controls(own, {"wrong_site": [far], "no_intervention": [None]}, ready, test, {"iia": IIA()})
    assert "index:60" in found["control/wrong_site/not_measured"] and "control/wrong_site/iia" not in found
    assert 0 <= found["control/no_intervention/iia"] <= 1


def test_the_wrong_site_is_trained_where_it_says(problem):
    [wrong] = control("wrong_site").make(subject(problem))
    assert wrong.placements[0].write.positions == "last" and not any(p.requires_grad for p in wrong.parameters())
    fresh = recipe().at("last").place(problem)
    assert not torch.allclose(wrong[0].featurizer.basis, fresh[0].featurizer.basis), "it was trained"


def test_shuffling_takes_every_label_from_another_pair(problem):
    for method, objective in ((RANK2, CounterfactualCE()), (partial(cdas, rank=2), JSD())):
        placed = recipe(method).place(problem)
        data = problem.dataset("train", placed, objective.needs)
        mixed = shuffled(problem, data, placed, 0)
        assert len(mixed) == len(data) and mixed.group == data.group
        known = [(e.pair.sources["source"], e.pair.counterfactual_label, e.label_ids) for e in data.examples]
        for row, (before, after) in enumerate(zip(data.examples, mixed.examples, strict=True)):
            assert after.pair.base == before.pair.base and after.pair.sources["source"] == before.pair.sources["source"]
            taken = (after.pair.sources["target"], after.pair.counterfactual_label, after.label_ids)
            assert taken in known and after.pair.target == "target", "label and run stay together"
            same = [i for i, k in enumerate(known) if k == taken]
            assert same != [row], "no pair keeps its own label"
        labels = [[e.pair.counterfactual_label for e in d.examples] for d in (data, mixed)]
        assert sorted(labels[0]) == sorted(labels[1]) and labels[0] != labels[1]


def test_shuffling_takes_a_causal_model_s_value_with_the_label(problem):
    """What a regression is trained towards is dealt out like an answer; it would else know what to do."""
    placed = recipe().place(problem)
    pairs = [
        replace(pair, value=float(row), rival=pair.counterfactual_label)
        for row, pair in enumerate(problem.task.pairs("train", 16, 0))
    ]
    mixed = shuffled(problem, problem.pairs(pairs, placed, problem.task.labels), placed, 0)
    values = mixed.collate(range(16)).per_row["value"].long().tolist()
    assert sorted(values) == list(range(16)) and all(value != row for row, value in enumerate(values))
    assert [pairs[value].counterfactual_label for value in values] == [p.counterfactual_label for p in mixed.pairs]


def test_no_intervention_is_the_model(problem):
    [nothing] = control("no_intervention").make(subject(problem))
    placed = interchange_of(recipe().place(problem))
    data = problem.dataset("test", placed)
    ready = prepared(problem.engine(placed), data, TRAINER)
    numbers = evaluate(ready, data, nothing, {"iia": IIA()})
    labels, hits = problem.task.labels, []
    for pair in data.pairs:
        ids = problem.encoder.encode(pair.base).ids
        logits = problem.model(torch.tensor([ids])).logits[0, -1]
        encoded = problem.encoder.encode(pair.base)
        scores = [float(logits[problem.encoder.label_ids(encoded, label)[0]]) for label in labels]
        hits.append(labels[scores.index(max(scores))] == pair.counterfactual_label)
    assert numbers["iia"] == pytest.approx(sum(hits) / len(hits))


def test_a_pair_is_answered_correctly_only_if_its_target_is(problem):
    placed = recipe().place(problem)
    data = problem.dataset("test", placed)
    right = natively_correct(problem.engine(placed), data).tolist()

    def picks(prompt) -> str:
        encoded = problem.encoder.encode(prompt)
        logits = problem.model(torch.tensor([encoded.ids])).logits[0, -1]
        return max(problem.task.labels, key=lambda label: float(logits[problem.encoder.label_ids(encoded, label)[0]]))

    both = [(picks(p.base) == p.base_label, picks(p.sources["source"]) == p.counterfactual_label) for p in data.pairs]
    assert right == [base and source for base, source in both]
    assert any(base and not source for base, source in both), "negative control: the source decides somewhere"


def test_source_free_subspaces_are_measured_as_interchanges(problem):
    def shifted(width: int) -> Intervention:
        return Intervention(Rotation(width, 2), Add(2, torch.ones(2), learned=True), name="shifted")

    found = fit(problem.model, NameGender(), shifted, SITE, objective=LMLoss(), settings=SETTINGS)
    assert "iia" in found.metrics and "control/random_subspace/iia" in found.metrics
    assert found.metrics["train/steps"] == 3 and found.subspace.interventions[0].operations[0] == "as_trained"


def test_what_has_no_subspace_is_not_measured_as_an_interchange(problem):
    def moved(width: int) -> Intervention:
        return Intervention(Identity(width), Add(width, torch.ones(width)), name="moved")

    found = fit(problem.model, NameGender(), moved, SITE, settings=SETTINGS)
    assert "cannot be interchanged" in found.metrics["iia/not_measured"] and "iia" not in found.metrics


def test_a_control_that_cannot_be_estimated_is_left_out_and_the_rest_is_reported(problem):
    prefix = replace(SITE, positions="from:1")  # the wrong site is the first token, which all prompts share
    found = fit(problem.model, NameGender(), DiffMeans(), prefix, settings=SETTINGS)
    assert "means" in found.metrics["control/wrong_site/not_measured"] and "iia" in found.metrics
