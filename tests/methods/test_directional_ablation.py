"""Directional ablation: which direction is chosen, and where it is removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from das.edits.add import Add
from das.edits.zero import Zero
from das.errors import InputError, SiteError
from das.estimators.base import Effects, Entries, Examples, Found
from das.estimators.directions import differences
from das.methods.directional_ablation import PLACES, DirectionalAblation
from das.models.families import ModelView
from das.types import Site
from tests.families import LAYERS, tiny_model

WIDTH = 32
VIEW = ModelView(tiny_model("llama-gqa"))
SITES = [Site(layer, "block_input", "l2") for layer in range(2)]


def examples(axes: Sequence[int], n: int = 40, short: bool = False) -> Examples:
    """Per token (from the first) the neuron in which the values differ by 3; with `short`, half without the first."""
    x, label, prompt, position = [], [], [], []
    for i in range(n):
        for t, axis in enumerate(axes):
            if short and not t and i % 4 < 2:
                continue
            row = torch.full((WIDTH,), 0.5)
            row[axis] += 3.0 * (i % 2)
            x.append(row), label.append(i % 2), prompt.append(i), position.append(t + i % 3)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    columns = [torch.tensor(v)[order] for v in (label, prompt, position)]
    return Examples(torch.stack(x)[order], columns[0], columns[1], columns[1] // 2, columns[2])


def found() -> dict[Site, Found]:
    """Candidates: neurons 0 (layer 0, first token), 1 (layer 0, last), 2 and 3 (layer 1)."""
    sites = DirectionalAblation().candidates(VIEW, SITES)
    return {s: Found(e, e) for s, e in zip(sites, (examples((0, 1)), examples((2, 3))), strict=True)}


class Measured:
    """A trial that looks effects up by the neuron of the direction, and checks what it is given."""

    def __init__(self, induced: Mapping[int, float], kl: Mapping[int, float], left: Mapping[int, float]) -> None:
        self.induced, self.kl, self.left = induced, kl, left
        self.ablated: list[int] = []

    def __call__(self, entries: Entries) -> Effects:
        axis = int(entries[0][1].featurizer.vector.abs().argmax())
        if len(entries) == 1:
            [(site, x)] = entries
            assert isinstance(x.edit, Add) and float(x.edit.value) == pytest.approx(3.0), "at its own length"
            assert (site.layer, site.component, site.positions) == (axis // 2, "block_input", "from:0")
            return Effects((float("nan"), self.induced[axis]), float("nan"))
        self.ablated.append(axis)
        return Effects((self.left[axis], float("nan")), self.kl[axis])


def chosen(entries: Entries) -> Tensor:
    return entries[0][1].featurizer.vector


def test_the_lowest_that_induces_and_costs_little_is_chosen_and_removed_everywhere():
    trial = Measured({0: 1.0, 1: -0.1, 2: 0.2, 3: 5.0}, {0: 0.01, 2: 0.05, 3: 0.3}, {0: -1.0, 2: -4.0, 3: -9.0})
    entries = DirectionalAblation().fit_set(VIEW, found(), trial)
    assert torch.equal(chosen(entries), torch.eye(WIDTH)[2])
    assert sorted(trial.ablated) == [0, 2, 3], "what induces nothing is not ablated"
    assert [(s.layer, s.component) for s, _ in entries] == [(n, name) for n in range(LAYERS) for name in PLACES]
    assert {s.positions for s, _ in entries} == {"from:0"}
    assert len({id(x) for _, x in entries}) == 1 and isinstance(entries[0][1].edit, Zero)
    assert entries[0][1].operations == ("as_trained", "ablate")


@pytest.mark.parametrize(
    ("settings", "axis"),
    [({"max_kl": 1.0}, 3), ({"min_induced": 0.5}, 0), ({"min_induced": -1.0, "max_kl": 0.02}, 1)],
)
def test_the_thresholds_are_settings(settings, axis):
    trial = Measured({0: 1.0, 1: -0.1, 2: 0.2, 3: 5.0}, {0: 0.01, 1: 0.02, 2: 0.05, 3: 0.3},
                     {0: -1.0, 1: -2.0, 2: -4.0, 3: -9.0})  # fmt: skip
    entries = DirectionalAblation(**settings).fit_set(VIEW, found(), trial)
    assert torch.equal(chosen(entries), torch.eye(WIDTH)[axis])


def test_no_direction_may_pass():
    nothing = dict.fromkeys(range(4), 0.0)
    with pytest.raises(InputError, match=r"no direction passes.*4 candidates, of which 0 induce"):
        DirectionalAblation().fit_set(VIEW, found(), Measured(nothing, nothing, nothing))
    costly = dict.fromkeys(range(4), 0.7)
    with pytest.raises(InputError, match=r"of which 4 induce the positive value, and ablating the cheapest.*0\.7 nats"):
        DirectionalAblation().fit_set(VIEW, found(), Measured(costly, costly, costly))
    broken = dict.fromkeys(range(4), float("nan"))
    with pytest.raises(InputError, match="no direction passes"):
        DirectionalAblation().fit_set(VIEW, found(), Measured(costly, broken, costly))


def test_only_sites_in_front_of_the_last_blocks_are_read():
    every = [Site(layer, "block_input", "all", "last") for layer in range(LAYERS)]
    sites = DirectionalAblation().candidates(VIEW, every)
    assert [(s.layer, s.read().positions) for s in sites] == [(0, "last"), (1, "last")], "0.8 of 3 blocks are 2"
    assert [s.layer for s in DirectionalAblation(depth=1.0).candidates(VIEW, every)] == [0, 1, 2]
    assert DirectionalAblation().candidates(VIEW, [Site(0, "block_output")]), "what enters block 1"
    with pytest.raises(InputError, match="behind the first 2 of 3 blocks"):
        DirectionalAblation().candidates(VIEW, [Site(1, "block_output"), every[2]])
    with pytest.raises(SiteError, match="directions of the residual stream"):
        DirectionalAblation().candidates(VIEW, [Site(0, "mlp_hidden")])


def test_candidates_are_the_differences_at_every_token_all_prompts_have():
    site, e = Site(0, "block_input", "l3"), examples((0, 1, 2))
    made = differences({site: Found(e, e)})
    assert [(c.offset, int(c.vector.argmax())) for c in made] == [(0, 2), (-1, 1), (-2, 0)]
    assert all(torch.equal(c.vector, 3.0 * torch.eye(WIDTH).double()[2 + c.offset]) for c in made)
    assert str(made[1]) == "layer 0 block_input @ l3, 1 tokens earlier"
    cut = examples((0, 1, 2), short=True)
    assert [c.offset for c in differences({site: Found(cut, cut)})] == [0, -1]
    same = e.relabelled(e.prompt // 2 % 2)  # half of each value's prompts on either side
    with pytest.raises(InputError, match="do not differ anywhere"):
        differences({site: Found(same, same)})
