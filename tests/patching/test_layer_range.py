"""The search on planted ranges, and what it sees in a model against plain hooks."""

from __future__ import annotations

from math import ceil, log2

import pytest
import torch

from das.errors import CapabilityError
from das.models.load import load_model, load_tokenizer
from das.patching.layer_range import layer_range
from das.patching.search import Lens, Search, search
from das.tasks.name_gender import NameGender
from tests.toy import save_toy_model

LAYERS = 32


def planted(first: int, last: int, undo: tuple[int, ...] = ()):
    """The source's answer appears after `last` where all of [first, last] is patched; `undo` layers take 0.4 away."""
    calls = []

    def patched(layers: tuple[int, ...]) -> Lens:
        calls.append(layers)
        there = set(range(first, last + 1)) <= set(layers)
        source, now = [], 0.0
        for j in range(LAYERS):
            now = 0.95 if there and j == last else now
            now -= 0.4 * (there and j in undo and j not in layers)
            source.append(now)
        return Lens(source, [0.95 - p for p in source])

    return patched, calls


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 31), (5, 5), (11, 17), (31, 31), (30, 31), (0, 1)])
def test_the_planted_range_is_found_in_logarithmically_many_runs(first, last):
    patched, calls = planted(first, last)
    found = search(patched, LAYERS)
    assert (found.lower, found.upper, found.layers) == (first, last + 1, tuple(range(first, last + 1)))
    assert found.wins and found.runs == len(calls) == len(set(calls)) <= 2 * ceil(log2(LAYERS)) + 2


def test_layers_that_take_the_answer_back_are_added_one_by_one():
    patched, _ = planted(8, 10, undo=(15, 20))
    assert search(patched, LAYERS, Search(eps=0.1)).layers == (8, 9, 10, 15)  # 0.55 against 0.40
    found = search(patched, LAYERS)
    assert found.layers == (8, 9, 10, 15, 20) and found.wins
    lost = search(planted(8, 10, undo=(15,))[0], LAYERS, Search(phi=0.5))
    assert lost.layers == (8, 9, 10) and not lost.wins


def test_a_threshold_that_nothing_reaches():
    with pytest.raises(CapabilityError, match=r"0\.950, threshold 0\.97"):
        search(planted(3, 4)[0], LAYERS, Search(threshold=0.97))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


def test_the_lens_is_that_of_plain_hooks(model):
    pairs = [pair for pair in NameGender().pairs("test", 12, 0) if pair.changed]
    found = layer_range(model, pairs, settings=Search(threshold=0.0), batch_size=4)
    assert found.lens.source == pytest.approx(lens(model, pairs, found.layers, "counterfactual_label"), abs=1e-6)
    assert found.lens.base == pytest.approx(lens(model, pairs, found.layers, "base_label"), abs=1e-6)
    assert (found.lower, found.upper) == (0, 1) and len(found.lens.source) == 3


@torch.no_grad()
def lens(model, pairs, layers, label):
    tokenizer, sums = load_tokenizer(model), torch.zeros(3)
    for pair in pairs:
        kept, seen = {}, []
        ids = [torch.tensor([tokenizer(p.text).input_ids]) for p in (pair.sources["source"], pair.base)]
        attention = [model.model.layers[i].self_attn for i in layers]
        handles = [
            a.register_forward_hook(lambda m, _, out, k=kept: k.update({m: out[0][:, -1].clone()})) for a in attention
        ]
        model(ids[0])
        [handle.remove() for handle in handles]

        def put(module, _, out, kept=kept):
            h = out[0].clone()
            h[:, -1] = kept[module]
            return (h, *out[1:])

        handles = [a.register_forward_hook(put) for a in attention]
        for block in model.model.layers:
            handles.append(block.register_forward_hook(lambda m, _, out, s=seen: s.append(first(out)[:, -1].clone())))
        model(ids[1])
        [handle.remove() for handle in handles]
        token = tokenizer(getattr(pair, label), add_special_tokens=False).input_ids[0]
        sums += torch.stack([model.lm_head(model.model.norm(h)).softmax(-1)[0, token] for h in seen])
    return (sums / len(pairs)).tolist()


def first(out):
    return out[0] if isinstance(out, tuple) else out
