"""Learned methods find what was planted: in models whose variables lie along known directions, or on known neurons.

`heq_hand` and `heq_neurons` carry WX by construction; the models of planted prices carry left by training, in one and
in four dimensions. Every cosine stands beside that of the direction the method started from, and the interchange
family's IIA beside that of other sites.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import das
from das.context import Context
from das.geometry import principal_cosines
from das.interventions.base import Intervention
from das.models.recipes.base import recipe
from das.tasks.hierarchical_equality import HierarchicalEquality
from das.tasks.price_tagging import PriceTagging
from tests.contracts.groups import made

PRICES = partial(PriceTagging, grid="mini", template="{lower} {upper} {amount} =", labels=(" Yes", " No"))
WHERE: dict[str, tuple[str, Callable[..., Any]]] = {
    "heq_hand": ("WX", HierarchicalEquality),
    "heq_neurons": ("WX", HierarchicalEquality),
    "planted_price": ("left", PRICES),
    "planted_price_rank4": ("left", PRICES),
}


@cache
def loaded(model: str) -> nn.Module:
    return das.load_model(model)


@cache
def learned(
    model: str, method: str, objective: str, steps: int = 200, lr: float = 0.02, site: das.Site | None = None,
    controls: tuple[str, ...] = (), seed: int = 0, **settings: Any,
) -> das.Fit:  # fmt: skip
    """A method fitted where the model has its variable, or elsewhere."""
    variable, task = WHERE[model]
    return das.fit(
        loaded(model), task((variable,)), made("intervention", method, **settings), site or planted(model).site,
        objective=made("objective", objective),
        settings=das.FitSettings(
            das.DataSettings(n_train=512, n_val=64, n_test=200, n_contrast=256), das.AdamW(lr=lr),
            das.TrainerSettings(max_steps=steps, batch_size=32, progress=False), das.ControlSettings(names=controls),
            seed=seed,
        ),
    )  # fmt: skip


def planted(model: str) -> Any:
    return recipe(model).planted()[WHERE[model][0]]


@torch.no_grad()
def moved(model: str, x: Intervention) -> Tensor:
    """How it changes activations of held-out prompts without the variable, (100, width)."""
    variable, task = WHERE[model]
    tokenizer, site = das.load_tokenizer(model), planted(model).site
    prompts = [contrast.negative.text for contrast in task((variable,)).contrasts("test", 100, 0)]
    ids = torch.tensor([tokenizer(text)["input_ids"] for text in prompts])
    h = loaded(model)(ids, output_hidden_states=True).hidden_states[site.layer + 1][:, -1:]
    ctx = Context(position_ids=torch.full((len(h), 1), ids.shape[1] - 1))
    return (x(h, None, ctx).activation - h)[:, 0]


def cosine(model: str, x: Intervention) -> float:
    """Of the smallest angle between what was planted and the subspace swapped."""
    return cosines(model, x)[0]


def cosines(model: str, x: Intervention) -> list[float]:
    """Of all principal angles between them."""
    return principal_cosines(x.featurizer.basis.detach(), planted(model).basis).tolist()


INTERCHANGE = [("das", "counterfactual_ce"), ("cdas", "jsd")]


@pytest.mark.parametrize("model", ["heq_hand", "planted_price"])
@pytest.mark.parametrize(("method", "objective"), INTERCHANGE)
def test_rank_1_interchange_finds_the_direction(model, method, objective):
    fit = learned(model, method, objective)
    assert cosine(model, fit.subspace.interventions[0]) >= 0.85
    assert fit.metrics["iia"] >= 0.98 and fit.metrics["iia_changed"] >= 0.98


@pytest.mark.parametrize("rank", [1, 4])
def test_of_four_planted_dimensions_one_is_found(rank):
    """The variable is a bit: further dimensions are swapped in vain, and are not those that were planted."""
    model = "planted_price_rank4"
    fit = learned(model, "das", "counterfactual_ce", rank=rank, controls=("random_subspace",))
    assert planted(model).basis.shape[1] == 4 and fit.metrics["model/accuracy"] >= 0.99
    first, *others = cosines(model, fit.subspace.interventions[0])
    assert first >= 0.85 and max(others, default=0.0) <= 0.7
    assert fit.metrics["iia"] >= 0.98 and fit.metrics["iia_changed"] >= 0.98
    assert fit.metrics["control/random_subspace/iia_changed"] <= 0.05


@pytest.mark.parametrize("model", ["heq_hand", "planted_price"])
def test_nothing_is_found_elsewhere(model):
    """The negative control: the first token is read by nothing that could decide the answer."""
    fit = learned(model, "das", "counterfactual_ce", site=das.Site(1, positions="first"), controls=("random_subspace",))
    assert fit.metrics["iia_changed"] <= 0.02
    assert fit.metrics["control/random_subspace/iia_changed"] <= 0.05


@pytest.mark.parametrize("model", ["heq_hand", "planted_price"])
def test_boundless_shrinks_to_the_planted_width(model):
    fit = learned(model, "boundless", "counterfactual_ce")
    x = fit.subspace.interventions[0]
    kept = x.featurizer.basis[:, x.gate.support()]
    assert x.dimension <= planted(model).basis.shape[1] + 1
    assert float((kept.T @ planted(model).basis).norm()) >= 0.85
    assert fit.metrics["iia"] >= learned(model, "das", "counterfactual_ce").metrics["iia"] - 0.02


@pytest.mark.parametrize("weight", [0.003, 0.03])
def test_dbm_finds_exactly_the_planted_neurons(weight):
    fit = learned("heq_neurons", "dbm", "counterfactual_ce", lr=0.1, weight=weight)
    assert fit.subspace.interventions[0].gate.support().nonzero().flatten().tolist() == [0, 1, 2, 3]
    assert fit.metrics["iia"] == 1.0


def test_without_an_axis_of_neurons_dbm_needs_many():
    """The negative control: the same variable along a random direction is on no few neurons."""
    fit = learned("heq_hand", "dbm", "counterfactual_ce", lr=0.1, weight=0.01)
    assert fit.subspace.interventions[0].dimension >= 8


def test_rotated_dbm_keeps_few_coordinates_that_hold_the_direction():
    fit = learned("heq_hand", "rotated_dbm", "counterfactual_ce", lr=0.05, steps=300, weight=0.03)
    x = fit.subspace.interventions[0]
    kept = x.featurizer.basis[:, x.gate.support()]
    assert x.dimension <= 2 and float((kept.T @ planted("heq_hand").basis).norm()) >= 0.95
    assert fit.metrics["iia"] >= 0.98


REFT = ["loreft", "direft", "nodireft", "consreft", "lobireft"]


@pytest.mark.parametrize("method", REFT)
def test_reft_moves_activations_along_the_direction(method):
    """Trained to answer as if W = X where it is not; what it does to held-out prompts is to set WX."""
    fit = learned("heq_hand", method, "lm_loss", rank=1)
    change = moved("heq_hand", fit.subspace.interventions[0])
    assert float(F.cosine_similarity(change, planted("heq_hand").basis.T).mean()) >= 0.85


@pytest.mark.parametrize("seed", [0, 1])
def test_noreft_gives_the_answers_by_either_variable(seed):
    """The answer is WX = YZ, so it is had as well by negating YZ: of seeds 0 to 5 two do that, 1 and 4."""
    fit = learned("heq_hand", "noreft", "lm_loss", rank=1, seed=seed)
    variables = torch.cat([one.basis for one in recipe("heq_hand").planted().values()], 1)
    change = F.normalize(moved("heq_hand", fit.subspace.interventions[0]), dim=1) @ variables
    assert float(change.norm(dim=1).mean()) >= 0.75
    drawn = F.normalize(torch.randn(2000, len(variables)), dim=1) @ variables
    assert float(drawn.norm(dim=1).quantile(0.999)) <= 0.7, "negative control"
    contrasts = list(HierarchicalEquality(("WX",)).contrasts("test", 100, 0))
    ids = torch.tensor([das.load_tokenizer("heq_hand")(c.negative.text)["input_ids"] for c in contrasts])
    plain = loaded("heq_hand")(ids).logits[:, -1].argmax(-1)
    with das.steer(loaded("heq_hand"), fit.subspace):
        steered = loaded("heq_hand")(ids).logits[:, -1].argmax(-1)
    assert bool((steered != plain).all()), "another answer to every held-out prompt"


@pytest.mark.parametrize("objective", ["reps", "lm_loss", "dpo"])
def test_a_vector_trained_on_responses_points_along_the_direction(objective):
    method = "reps_vector" if objective == "reps" else "steering_vector"
    fit = learned("heq_hand", method, objective, lr=0.05, steps=300)
    change = moved("heq_hand", fit.subspace.interventions[0])
    assert float(F.cosine_similarity(change, planted("heq_hand").basis.T).mean()) >= 0.85


def test_directions_drawn_at_random_are_far_from_the_bars():
    """What the bars are worth: of 2000 random directions of 32 or 64 dimensions, none comes near."""
    for model in ("heq_hand", "planted_price", "planted_price_rank4"):
        basis = planted(model).basis
        drawn = F.normalize(torch.randn(2000, len(basis)), dim=1)
        assert float((drawn @ basis).norm(dim=1).max()) <= 0.7
