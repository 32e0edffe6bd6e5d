"""Gradients for estimators: the model's own, whatever the batch; a subspace of them removes what it should."""

from __future__ import annotations

from dataclasses import replace

import jaxtyping
import pytest
import torch
from torch.nn import functional as F

from das.context import Context
from das.errors import CapabilityError, InputError, UnknownChoiceError
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.interventions.base import Intervention
from das.methods.diff_means import DiffMeans
from das.methods.gradient_subspace import GradientSubspace
from das.models.load import load_model
from das.objectives.bipo import BiPO
from das.objectives.jsd import JSD
from das.objectives.lm_loss import LMLoss
from das.objectives.logit_difference import LogitDifferenceLoss
from das.tasks.name_gender import NameGender
from das.training.estimate import estimated
from das.training.gradients import collect_gradients
from das.training.problem import DataSettings, Problem
from das.types import Site
from tests.toy import save_toy_model

SITES = [Site(0, positions="last"), Site(1, positions="span:name")]
DATA = DataSettings(n_train=6, n_contrast=4, response_tokens=3, batch_size=3)


@pytest.fixture(scope="module")
def problem(tmp_path_factory) -> Problem:
    return Problem(load_model(save_toy_model(tmp_path_factory.mktemp("toy"))), NameGender(), data=DATA)


def test_they_are_the_model_s_own(problem):
    """Each row alone, by autograd through hooks of our own: summed cross-entropy of the response's tokens."""
    found = collect_gradients(problem, SITES, "train", LMLoss(), 0)
    for row, written in enumerate(problem.contrasts("train")):
        encoded, kept = problem.encoder.encode(written.contrast.negative), {}

        def keep(module, args, out, kept=kept):
            kept[module] = out.requires_grad_() if not out.requires_grad else out
            kept[module].retain_grad()
            return kept[module]

        layers = [problem.model.model.layers[site.layer] for site in SITES]
        handles = [layer.register_forward_hook(keep) for layer in layers]
        ids = torch.tensor([[*encoded.ids, *written.positive_ids]])
        logits = problem.model(ids).logits[0, len(encoded) - 1 : -1]
        F.cross_entropy(logits, ids[0, len(encoded) :], reduction="sum").backward()
        for handle in handles:
            handle.remove()
        where = [[len(encoded) - 1], [i for mention in encoded.spans["name"] for i in mention]]
        for site, layer, positions in zip(SITES, layers, where, strict=True):
            here = found[site].prompt == row
            assert found[site].position[here].tolist() == positions
            assert torch.allclose(found[site].x[here], kept[layer].detach()[0, positions], atol=1e-5)
            assert torch.allclose(found[site].gradient[here], kept[layer].grad[0, positions], rtol=1e-3, atol=1e-6)
    assert all(p.grad is None for p in problem.model.parameters())


@pytest.mark.parametrize("objective", [LMLoss(), JSD(), LogitDifferenceLoss(), BiPO()])
def test_any_objective_and_however_it_is_batched(problem, objective):
    at_once = Problem(problem.model, problem.task, data=replace(DATA, batch_size=64))
    one, other = (collect_gradients(p, SITES, "train", objective, 0)[SITES[1]] for p in (problem, at_once))
    scale = one.gradient.norm(dim=1).max()
    assert float(scale) > 0 and torch.equal(one.position, other.position)
    if objective.needs.rows == "preferences":  # its loss is a mean over pairs of a sigmoid's logarithm, all the same
        assert torch.equal(one.pair.unique(), torch.arange(DATA.n_contrast))
    assert torch.allclose(one.gradient, other.gradient, rtol=1e-3, atol=1e-4 * float(scale))


def test_rows_know_their_concept_value(problem):
    for objective, rows in ((LMLoss(), [NEGATIVE]), (JSD(), [NEGATIVE, POSITIVE])):
        found = collect_gradients(problem, SITES[:1], "train", objective, 0)[SITES[0]]
        assert found.label.tolist() == rows * DATA.n_contrast
    found = collect_gradients(problem, SITES[:1], "train", LogitDifferenceLoss(), 0)[SITES[0]]
    pairs = problem.task.pairs("train", DATA.n_train, 0)
    assert found.label.tolist() == [int(p.base_label == problem.task.positive) for p in pairs]


def test_shuffled_labels_give_other_gradients(problem):
    true, shuffled = (
        collect_gradients(problem, SITES[:1], "train", LogitDifferenceLoss(), 0, shuffled)[SITES[0]]
        for shuffled in (False, True)
    )
    assert torch.equal(true.x, shuffled.x) and not torch.allclose(true.gradient, shuffled.gradient)


# ---------------------------------------------------------------------------------------------------- the method


def linear(rank: int = 1, rows: int = 40, width: int = 7) -> tuple[Examples, torch.Tensor]:
    """Examples of l = sum_k g_k(h) w_k.h with random g: gradients lie in the span of w_1 .. w_rank."""
    torch.manual_seed(0)
    x, w = torch.randn(rows, width) + 1.0, torch.randn(rank, width)
    gradient = torch.randn(rows, rank) @ w if rank > 1 else w.expand(rows, -1)
    return replace(Examples.of(x, torch.arange(rows) % 2), gradient=gradient), w


def edit(method, x: torch.Tensor, factor: float | None = None) -> torch.Tensor:
    rows = None if factor is None else torch.full((len(x),), factor, dtype=x.dtype)
    return method.double()(x[:, None], None, Context(factor=rows)).activation[:, 0]


def test_of_a_linear_loss_it_is_the_direction_and_takes_the_gradient_away():
    examples, w = linear()
    method = GradientSubspace(LMLoss(), reference="zero").fit(examples)
    cosine = F.cosine_similarity(method.featurizer.basis[:, 0], w[0], dim=0)
    assert abs(float(cosine)) == pytest.approx(1.0, abs=1e-5)
    x = examples.x.double().requires_grad_()
    edited = edit(method, x)
    (edited @ w[0].double()).sum().backward()
    assert float(x.grad.abs().max()) < 1e-6 * float(w.norm()), "the loss no longer depends on the activation"
    assert torch.allclose(edit(method, x.detach(), 0.0), x.detach()), "factor 0 removes nothing"


@pytest.mark.parametrize("reference", ["mean", "negative", "positive", "zero"])
def test_coordinates_move_to_the_reference_and_the_rest_stays(reference):
    examples, w = linear(rank=2)
    x = examples.x.double()
    method = GradientSubspace(LMLoss(), rank=2, reference=reference).fit(examples)
    basis = method.featurizer.basis.double()
    assert torch.linalg.matrix_rank(torch.cat([basis, w.T.double()], 1), atol=1e-5) == 2
    origin = {"mean": x.mean(0), "negative": x[0::2].mean(0), "positive": x[1::2].mean(0), "zero": 0 * x[0]}[reference]
    edited = edit(method, x)
    assert torch.allclose(edited @ basis, (origin @ basis).expand(len(x), -1), atol=1e-5)
    assert torch.allclose(edited - edited @ basis @ basis.T, x - x @ basis @ basis.T, atol=1e-5)


def test_an_estimator_may_call_anything_its_objective(problem):
    class Fitted:
        objective = "logistic"

        def fit(self, examples: Examples) -> Intervention:
            assert examples.gradient is None
            return DiffMeans().fit(examples)

    assert estimated(problem, Fitted(), SITES[:1], 0)[0].rank == 1


def test_what_it_cannot_be_fitted_on(monkeypatch):
    examples, _ = linear()
    for rank in (0, 2):
        with pytest.raises(InputError, match=f"rank {rank} of 1"):
            GradientSubspace(LMLoss(), rank=rank).fit(examples)
    with pytest.raises(CapabilityError, match="activations only"):
        GradientSubspace(LMLoss()).fit(replace(examples, gradient=None))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # what a user without the test run's checks sees
    with pytest.raises(UnknownChoiceError, match="origin"):
        GradientSubspace(LMLoss(), reference="origin")
