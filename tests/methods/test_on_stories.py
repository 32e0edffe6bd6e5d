"""Methods that fit several sites together, end to end on a pretrained model: whose pronoun follows a child's name?"""

from __future__ import annotations

import pytest
import torch

import das
from das.artifacts.model_card import ModelCard
from das.tasks.name_gender import NameGender
from das.training.estimate import estimated
from das.training.problem import Problem
from das.types import Site

DATA = das.DataSettings(n_contrast=16, n_val=8, n_test=8)


@pytest.fixture(scope="module")
def model(shared_path):
    return das.load_model(shared_path("models/stories3M"))


@pytest.fixture(scope="module")
def odds(model):
    """`odds(model)`: mean log odds of she against he after held-out girls' and after boys' names."""
    tokenizer, prompts = das.load_tokenizer(model), NameGender().prompts("test", 12, 1)
    she, he = (tokenizer(f"One day,{word}")["input_ids"][-1] for word in (" she", " he"))

    def measured(model):
        found = []
        for label in (" she", " he"):
            rows = [torch.tensor([tokenizer(p.text)["input_ids"]]) for p, value in prompts if value == label]
            logits = torch.stack([model(row).logits[0, -1] for row in rows])
            found.append(float((logits[:, she] - logits[:, he]).mean()))
        return found

    return measured


def steered(model, odds, subspace, *factors):
    found = []
    for factor in factors:
        with das.steer(model, subspace, factor):
            found.append(odds(model))
    return found


def learned(model, method, sites):
    """Fitted as `das.fit` does, and not measured."""
    interventions = estimated(Problem(model, NameGender(), data=DATA), method, sites, seed=0)
    return das.Subspace(interventions, ModelCard.of(model), (None,) * len(interventions))


def test_iti_moves_the_pronoun_with_the_sign_of_its_factor(model, odds, tmp_path):
    """All heads of three layers: which five tell the pronoun best says little of which five steer it best."""
    sites = [Site(layer, positions="all", source_positions="last") for layer in (2, 3, 4)]
    settings = das.FitSettings(data=DATA, controls=das.ControlSettings(names=()))
    fitted = das.fit(model, NameGender(), das.method("iti", alpha=10.0), sites, settings=settings).subspace
    fitted = das.Subspace.load(fitted.save(tmp_path / "iti"), model)
    assert len(fitted.interventions.placements) == 18
    plain, (up, down) = odds(model), steered(model, odds, fitted, 1.0, -1.0)
    assert plain[0] > 3 and plain[1] < -3, "negative control: the model knows"
    assert min(up) > 2 and max(down) < -2, "either pronoun, whoever the child is"


def test_rosi_moves_the_pronoun_with_the_sign_of_its_factor(model, odds):
    fitted = learned(model, das.method("rosi"), [Site(5, positions="last")])
    plain, (up, down) = odds(model), steered(model, odds, fitted, 1.0, -1.0)
    assert all(a > b + 0.2 and c < b - 0.2 for a, b, c in zip(up, plain, down, strict=True))


def test_ablation_removes_the_positive_pronoun_and_folds(model, odds):
    method = das.method("directional_ablation", max_kl=0.5)  # of two symmetric values one always costs more than 0.1
    fitted = learned(model, method, [Site(2, "block_input", "span:name")])
    plain, [ablated] = odds(model), steered(model, odds, fitted, None)
    assert ablated[0] < plain[0] - 2, "girls lose their pronoun"
    assert ablated[1] < 0, "boys keep theirs"
    assert odds(das.fold(model, fitted)) == pytest.approx(ablated, abs=1e-3)
