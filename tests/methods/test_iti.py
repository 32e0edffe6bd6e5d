"""ITI: which heads it chooses, and what it adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import das
from das.artifacts.model_card import ModelCard
from das.artifacts.subspace import Subspace
from das.context import Context
from das.errors import InputError, SiteError, UnknownChoiceError
from das.estimators.base import Effects, Entries, Examples, Found
from das.estimators.logistic import fit_probe
from das.interventions.sets import InterventionSet
from das.methods.iti import HEAD, Iti
from das.models.families import ModelView
from das.types import Site
from tests.families import tiny_ids, tiny_model

DIM = 8
MODEL = tiny_model("llama-gqa")
VIEW = ModelView(MODEL)
SITES = [Site(layer, positions="generated", source_positions="last") for layer in range(3)]
#: (layer, head) -> by how many deviations its first neuron tells the values apart.
PLANTED = {(1, 2): 9.0, (2, 0): 6.0, (0, 1): 1.0}


def examples(seed: int, gap: float) -> Examples:
    g = torch.Generator().manual_seed(seed)
    x, label = torch.randn(120, DIM, generator=g), torch.arange(120) % 2
    x[:, 1] = x[:, 0] + 0.4 * x[:, 1]  # correlated noise: the probe's normal is not the difference of the means
    x[:, 0] += gap * label
    return Examples.of(x, label)


def found(method: Iti, sites: list[Site] | None = None) -> dict[Site, Found]:
    return {
        s: Found(*(examples(10 * n + split, PLANTED.get((s.layer, s.heads[0]), 0.0)) for split in (0, 1)))
        for n, s in enumerate(method.candidates(VIEW, SITES if sites is None else sites))
    }


def fitted(method: Iti, read: Mapping[Site, Found]) -> Entries:
    def trial(entries: Entries) -> Effects:
        raise AssertionError("heads are ranked by their probes alone")

    return method.fit_set(VIEW, read, trial)


def edit(x: Any, h: Tensor, factor: float | None = None) -> Tensor:
    rows = None if factor is None else torch.full((len(h),), factor)
    return x(h[:, None], None, Context(factor=rows)).activation[:, 0]


def test_candidates_are_all_heads_of_the_sites_layers():
    heads = Iti().candidates(VIEW, [*SITES, SITES[0]])
    assert [(s.layer, s.heads) for s in heads] == [(layer, (h,)) for layer in range(3) for h in range(4)]
    assert {(s.component, s.positions, s.source_positions) for s in heads} == {(HEAD, "generated", "last")}
    assert all(VIEW.bind(s).width == DIM for s in heads)
    [one, two] = Iti().candidates(VIEW, [Site(1, HEAD, heads=(3, 1), source_positions={"source": "last"})])
    assert (one.heads, two.heads) == ((3,), (1,))
    with pytest.raises(SiteError, match="layer does not exist"):
        Iti().candidates(VIEW, [Site(7)])


def test_the_heads_that_tell_the_concept_are_chosen_and_written_where_the_site_says():
    entries = fitted(Iti(heads=2), found(Iti()))
    assert [(s.layer, s.heads, s.positions) for s, _ in entries] == [(1, (2,), "generated"), (2, (0,), "generated")]
    assert len(fitted(Iti(heads=99), found(Iti()))) == 12


def test_validation_decides_and_not_training():
    read = found(Iti())
    best = next(s for s in read if (s.layer, s.heads) == (1, (2,)))
    read[best] = Found(read[best].train, examples(5, 0.0))
    assert best not in [s for s, _ in fitted(Iti(heads=2), read)]


def test_among_equals_the_later_head_is_chosen():
    same = Found(examples(0, 20.0), examples(1, 20.0))
    read = dict.fromkeys(Iti().candidates(VIEW, SITES), same)
    assert [(s.layer, s.heads) for s, _ in fitted(Iti(heads=2), read)] == [(2, (2,)), (2, (3,))]


@pytest.mark.parametrize("direction", ["mass_mean", "probe"])
def test_the_shift_is_alpha_deviations_along_the_head_s_direction(direction):
    read = found(Iti())
    [(site, x)] = fitted(Iti(heads=1, alpha=2.5, direction=direction), read)
    train, val = read[site].train, read[site].val
    both, label = torch.cat([train.x, val.x]).double(), torch.cat([train.label, val.label])
    means = both[label == 1].mean(0) - both[label == 0].mean(0)
    normal = fit_probe(train.x, train.label == 1).weight
    assert abs(float(torch.cosine_similarity(means, normal, dim=0))) < 0.9, "negative control: they differ"
    theta = torch.nn.functional.normalize(means if direction == "mass_mean" else normal, dim=0)
    for factor, times in ((None, 1.0), (2.0, 2.0), (-1.0, -1.0)):
        moved = edit(x, val.x, factor).double() - val.x.double()
        wanted = times * 2.5 * (both @ theta).std(unbiased=False) * theta
        torch.testing.assert_close(moved, wanted.expand_as(moved), atol=1e-5, rtol=1e-4)


def test_heads_are_shifted_before_they_are_mixed(tmp_path):
    entries = [(Site(s.layer, s.component, "all", heads=s.heads), x) for s, x in fitted(Iti(heads=3), found(Iti()))]
    learned = Subspace(InterventionSet(entries).requires_grad_(False), ModelCard.of(MODEL), (None,) * 3)
    learned = Subspace.load(learned.save(tmp_path / "iti"), MODEL)
    ids, rows = tiny_ids(), {}
    for (site, x), factor in [(entry, 0.1) for entry in entries]:
        row = rows.setdefault(site.layer, torch.zeros(32))
        row[site.heads[0] * DIM : (site.heads[0] + 1) * DIM] += factor * x.edit.value * x.featurizer.vector
    handles = [
        MODEL.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(lambda _, args, row=row: (args[0] + row,))
        for layer, row in rows.items()
    ]
    wanted = MODEL(ids).logits
    for handle in handles:
        handle.remove()
    with das.steer(MODEL, learned, 0.1):
        steered = MODEL(ids).logits
    assert float((MODEL(ids).logits - wanted).abs().max()) > 1e-2, "negative control"
    torch.testing.assert_close(steered, wanted, atol=1e-5, rtol=0)


def test_bad_settings():
    with pytest.raises(InputError, match="at least one head"):
        Iti(heads=0)
    with pytest.raises(UnknownChoiceError, match="unknown direction"):
        Iti(direction="random")
    flat = Examples.of(torch.ones(8, DIM), torch.arange(8) % 2)
    read = {s: Found(flat, flat) for s in Iti().candidates(VIEW, SITES[:1])}
    with pytest.raises(InputError, match="the head's direction is zero"):
        fitted(Iti(heads=1), read)
