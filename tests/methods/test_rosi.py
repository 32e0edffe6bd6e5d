"""ROSI: the intervention is its weight edit, and the direction the one that works."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import das
from das.artifacts.model_card import ModelCard
from das.artifacts.subspace import Subspace
from das.estimators.base import Effects, Entries, Examples, Found
from das.interventions.sets import InterventionSet
from das.methods.rosi import PLACES, Rosi
from das.models.families import ModelView
from das.types import Site
from tests.families import LAYERS, tiny_ids, tiny_model

WIDTH = 32


def found(sites: list[Site]) -> dict[Site, Found]:
    """The values differ along neuron 4 at the first site, 5 at the second, ..."""
    read = {}
    for n, site in enumerate(sites):
        x, label = torch.randn(60, WIDTH), torch.arange(60) % 2
        x[label == 1] = x[label == 0] + 2.0 * torch.eye(WIDTH)[4 + n]
        read[site] = Found(Examples.of(x, label), Examples.of(x, label))
    return read


def unasked(entries: Entries) -> Effects:
    raise AssertionError("there is nothing to choose from")


def injected(weight: Tensor, strength: float) -> Tensor:
    """W + f alpha s w^T with s neuron 4 and w the mean row."""
    return weight + strength * torch.outer(torch.eye(WIDTH)[4], weight.mean(0))


@pytest.mark.parametrize("family", ["llama-gqa", "gpt2"])
def test_it_is_its_weight_edit(family):
    model, by_hand, ids = tiny_model(family), tiny_model(family), tiny_ids()
    view = ModelView(model)
    entries = Rosi(alpha=3.0).fit_set(view, found([Site(1)]), unasked)
    learned = Subspace(InterventionSet(entries), ModelCard.of(model), (None,) * len(entries))
    factor = -2.0
    with torch.no_grad():
        for layer in range(LAYERS):
            if family == "gpt2":  # (inputs, outputs), and the bias is one more column
                block = by_hand.transformer.h[layer]
                for matrix in (block.attn.c_proj, block.mlp.c_proj):
                    whole = injected(torch.cat([matrix.weight.T, matrix.bias[:, None]], 1), factor * 3.0)
                    matrix.weight.copy_(whole[:, :-1].T), matrix.bias.copy_(whole[:, -1])
            else:
                block = by_hand.model.layers[layer]
                for matrix in (block.self_attn.o_proj, block.mlp.down_proj):
                    matrix.weight.copy_(injected(matrix.weight, factor * 3.0))
    wanted = by_hand(ids).logits
    with das.steer(model, learned, factor):
        steered = model(ids).logits
    assert float((model(ids).logits - wanted).abs().max()) > 1e-2, "negative control"
    torch.testing.assert_close(steered, wanted, atol=1e-5, rtol=0)
    folded = das.fold(model, learned, factor)
    torch.testing.assert_close(folded(ids).logits, wanted, atol=1e-5, rtol=0)
    change = weight_of(folded, view) - weight_of(model, view)
    assert torch.linalg.matrix_rank(change, atol=1e-5) == 1
    assert float(change[torch.arange(WIDTH) != 4].abs().max()) < 1e-6 < float(change[4].abs().max())


def weight_of(model: nn.Module, view: ModelView) -> Tensor:
    module = model.get_submodule(view.writers(1).mlp)
    return module.weight if isinstance(module, nn.Linear) else module.weight.T


def test_it_is_placed_at_everything_that_writes():
    view = ModelView(tiny_model("llama-gqa"))
    entries = Rosi().fit_set(view, found([Site(1)]), unasked)
    assert [(s.layer, s.component) for s, _ in entries] == [(n, name) for n in range(LAYERS) for name in PLACES]
    assert {s.positions for s, _ in entries} == {"from:0"} and len({id(x) for _, x in entries}) == 1
    assert entries[0][1].operations == ("as_trained",)


def test_of_several_directions_the_one_that_works_is_chosen():
    view = ModelView(tiny_model("llama-gqa"))
    sites = Rosi().candidates(view, [Site(0), Site(1), Site(2), Site(1)])

    def trial(entries: Entries) -> Effects:
        axis = int(entries[0][1].featurizer.vector.abs().argmax())
        return Effects(({4: 0.1, 5: 2.0, 6: -1.0}[axis], 9.0), 0.0)

    [vector] = {tuple(x.featurizer.vector.tolist()) for _, x in Rosi().fit_set(view, found(list(sites)), trial)}
    torch.testing.assert_close(torch.tensor(vector), torch.eye(WIDTH)[5], atol=1e-5, rtol=0)
