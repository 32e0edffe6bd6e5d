"""Patching: exact identities, and every number against plain hooks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from das.batch import Positions
from das.data.encode import Encoder
from das.errors import CapabilityError, EmptySplitError, InputError, PositionError, SiteError, UnknownChoiceError
from das.models.families import ModelView
from das.models.load import load_model, load_tokenizer
from das.patching.corruption import Noise, draw, embedding_site, noise_scale, noised
from das.patching.patch import patch
from das.patching.prompts import patchable
from das.patching.runs import Patcher
from das.patching.sites import each_token, grid, windows
from das.tasks.name_gender import NameGender
from das.types import Site
from tests.toy import save_toy_model

N = 6
ALL = "from:0"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.fixture(scope="module")
def pairs():
    return [pair for pair in NameGender().pairs("test", 2 * N, 0) if pair.changed]


def logits(model, text, *hooks):
    """The last token's, under plain hooks (module, function of the output)."""
    ids = torch.tensor([load_tokenizer(model)(text).input_ids])
    handles = [
        module.register_forward_hook(lambda m, a, out, f=f: (f(out[0]), *out[1:]) if isinstance(out, tuple) else f(out))
        for module, f in hooks
    ]
    with torch.no_grad():
        found = model(ids).logits[0, -1].double()
    for handle in handles:
        handle.remove()
    return found


def measured(model, pairs, start, goal, patched):
    """P, LD and KL, pair by pair, as the paper writes them."""
    tokenizer, sums = load_tokenizer(model), torch.zeros(4, dtype=torch.float64)
    for i, pair in enumerate(pairs):
        r, other = (
            tokenizer(w, add_special_tokens=False).input_ids[0] for w in (pair.base_label, pair.counterfactual_label)
        )
        p = [x[i].softmax(0) for x in (start, goal, patched)]
        ld = [x[i][r] - x[i][other] for x in (start, goal, patched)]
        kl = [(p[1] * (p[1] / q).log()).sum() for q in (p[0], p[2])]
        sums += torch.stack([p[2][r] - p[0][r], ld[2] - ld[0], ld[1] - ld[0], kl[0] - kl[1]])
    n = len(pairs)
    return {"p": float(sums[0]) / n, "ld": float(sums[1] / sums[2]), "kl": float(sums[3]) / n}


def close(effect, expected, tolerance=1e-5):
    return vars(effect) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_patching_everything_is_the_goal_run_and_patching_what_is_shared_is_the_start(model, pairs, direction):
    sites = [Site(0, "block_input", ALL), Site(0, "block_input", "index:0"), Site(2, "block_output", "last")]
    found = patch(model, pairs, sites, direction=direction)
    everything, shared, last = (row.effect for row in found.rows)
    levels = (found.clean, found.corrupted) if direction == "denoising" else (found.corrupted, found.clean)
    assert everything.ld == pytest.approx(1.0, abs=1e-5)
    assert everything.p == pytest.approx(levels[0].p - levels[1].p, abs=1e-6)
    assert everything.kl > 1e-3 and close(last, vars(everything))
    assert close(shared, {"p": 0.0, "ld": 0.0, "kl": 0.0}, 1e-6)  # <s> is the same in both prompts
    assert (found.pairs, found.given, found.direction) == (len(pairs), len(pairs), direction)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize(("component", "layer"), [("block_output", 0), ("attention_output", 1), ("mlp_output", 1)])
def test_effects_are_those_of_plain_hooks(model, pairs, direction, component, layer):
    block, at = model.model.layers[layer], 10
    module = {"block_output": block, "attention_output": block.self_attn, "mlp_output": block.mlp}[component]
    start, goal, patched = [], [], []
    for pair in pairs:
        clean, corrupted = pair.base.text, pair.sources["source"].text
        begin, aim = (corrupted, clean) if direction == "denoising" else (clean, corrupted)
        kept = []
        start.append(logits(model, begin))
        goal.append(logits(model, aim, (module, lambda h, kept=kept: kept.append(h.clone()) or h)))

        def put(h, kept=kept):
            h = h.clone()
            h[:, at] = kept[0][:, at]
            return h

        patched.append(logits(model, begin, (module, put)))
    found = patch(model, pairs, [Site(layer, component, f"index:{at}")], direction=direction, batch_size=4)
    assert close(found.rows[0].effect, measured(model, pairs, start, goal, patched))
    assert abs(found.rows[0].effect.ld) > 1e-4


def test_heads_of_a_layer_together_are_the_layer(model, pairs):
    heads = grid(model, ["head_attention_value_output"], ["last"], layers=[1], heads=True)
    assert [site.heads for site in heads] == [(0,), (1,), (2,), (3,)]
    found = patch(model, pairs, [*heads, Site(1, "attention_value_output"), Site(1, "attention_output")])
    *single, mixed, output = (row.effect for row in found.rows)
    assert close(mixed, vars(output)) and len({round(e.ld, 6) for e in single}) == 4
    with pytest.raises(SiteError, match="heads"):
        grid(model, ["mlp_output"], heads=True)


def test_windows_patch_adjacent_layers_together(model, pairs):
    sites = grid(model, ["mlp_output"], ["last"])
    found = patch(model, pairs, sites, windows=[2, 3])
    assert [row.layers for row in found.rows] == [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)]
    singles = [row.effect for row in found.rows[:3]]
    assert close(found.rows[3].singles, {k: getattr(singles[0], k) + getattr(singles[1], k) for k in ("p", "ld", "kl")})
    start, goal, patched = [], [], []
    for pair in pairs:
        kept, mlps = {}, [layer.mlp for layer in model.model.layers[:2]]
        start.append(logits(model, pair.sources["source"].text))
        goal.append(
            logits(model, pair.base.text, *((m, lambda h, m=m, k=kept: k.setdefault(m, h.clone())) for m in mlps))
        )

        def put(h, value):
            return torch.cat([h[:, :-1], value[:, -1:]], 1)

        patched.append(logits(model, pair.sources["source"].text, *((m, lambda h, v=kept[m]: put(h, v)) for m in mlps)))
    assert close(found.rows[3].effect, measured(model, pairs, start, goal, patched))
    assert found.best().layers in [(0,), (1,), (2,)]


def test_windows_are_of_one_component_and_position():
    sites = [Site(i, c, p) for p in ("last", "first") for c in ("mlp_output", "block_output") for i in (0, 1, 3)]
    assert windows(sites, 2) == [(0, 1), (3, 4), (6, 7), (9, 10)]
    with pytest.raises(InputError):
        windows(sites, 1)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_noise_on_the_embeddings(model, pairs, direction):
    """Restoring all of block 0's input undoes the noise; the first token, which has none, carries nothing of it."""
    sites = [Site(0, "block_input", ALL), Site(0, "block_input", "index:0"), Site(1, "block_output", "last")]
    noise = Noise("span:name", seed=3)
    found = patch(model, pairs, sites, direction=direction, corruption=noise, batch_size=4)
    assert found.rows[0].effect.ld == pytest.approx(1.0, abs=1e-5)
    assert close(found.rows[1].effect, {"p": 0.0, "ld": 0.0, "kl": 0.0}, 1e-6)
    assert abs(found.clean.ld - found.corrupted.ld) > 1e-3
    again = patch(model, pairs, sites, direction=direction, corruption=noise, batch_size=3)
    assert close(again.rows[2].effect, vars(found.rows[2].effect), 1e-4)
    other = patch(model, pairs, sites, direction=direction, corruption=replace(noise, seed=4))
    assert other.corrupted != found.corrupted and other.clean.ld == pytest.approx(found.clean.ld)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_between_two_patches_the_model_is_the_user_s_own(model, pairs, direction):
    encoder, noise, sites = Encoder.of(model, load_tokenizer(model)), Noise("span:name"), [Site(0), Site(1)]
    items = patchable(pairs, encoder, replace=False)
    patcher = Patcher(ModelView(model), sites, [(0,), (1,)], direction == "denoising", noise, 1.0)
    _, patched = patcher.run(patcher.data(items, encoder), items, 0)
    for _ in patched:
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_noise_is_three_standard_deviations_of_the_prompts_embeddings(model, pairs):
    """With noise of 0 deviations nothing is corrupted."""
    found = patch(model, pairs, [Site(1)], corruption=Noise("span:name", sigmas=0.0))
    assert found.corrupted == found.clean and math.isnan(found.rows[0].effect.ld) and found.rows[0].effect.kl == 0.0
    ids = [load_tokenizer(model)(pair.base.text).input_ids for pair in pairs]
    view, embedding = ModelView(model), model.model.embed_tokens
    nu = noise_scale(view, ids, 3.0)
    assert nu == pytest.approx(3 * float(embedding(torch.tensor([i for row in ids for i in row])).std()))
    values = draw(Noise("last"), nu, range(64), 2, 32)
    assert float(values.std()) == pytest.approx(nu, rel=0.05)
    tokens = torch.tensor(ids[:2])
    where = Positions(torch.tensor([[3, 5], [4, 0]]), torch.tensor([[True, True], [True, False]]))
    plain = embedding(tokens)
    with noised(embedding_site(view), where, values[:2]):
        changed = embedding(tokens) - plain
    assert torch.allclose(changed[0, [3, 5]], values[0], atol=1e-6) and torch.allclose(
        changed[1, 4], values[1, 0], atol=1e-6
    )
    assert int((changed != 0).any(-1).sum()) == 3 and torch.equal(embedding(tokens), plain)


def test_each_token_is_a_position_and_rows_say_which(model, pairs):
    encoder = Encoder.of(model, load_tokenizer(model))
    positions = each_token(pairs, encoder)
    assert positions[:2] == ("index:0", "index:1") and len(positions) == len(encoder.encode(pairs[0].base))
    found = patch(model, pairs, grid(model, positions=["span:name", "last"], layers=[1]))
    name = pairs[0].base.text[slice(*pairs[0].base.spans["name"][0])]
    assert [row.tokens for row in found.rows] == [f"{name} {name}", ","]
    longer = [replace(pairs[0], base=pairs[0].sources["source"]), replace(pairs[0], base=type(pairs[0].base)("Hi."))]
    with pytest.raises(PositionError, match="differ in their number of tokens"):
        each_token(longer, encoder)


def test_only_pairs_with_two_answers_and_equal_lengths_are_patched(model, pairs):
    shorter = replace(pairs[0], base=replace(pairs[0].base, text=pairs[0].base.text.replace(" One day,", ""), spans={}))
    same = replace(pairs[0], counterfactual_label=pairs[0].base_label)
    found = patch(model, [shorter, same, *pairs[1:3]], [Site(1)])
    assert (found.pairs, found.given) == (2, 4)
    with pytest.raises(EmptySplitError, match="none has two answers"):
        patch(model, [shorter, same], [Site(1)])
    with pytest.raises(CapabilityError, match=r"belongs to no source.*task\.target=source; or"):
        patch(model, [replace(pairs[0], target=None)], [Site(1)])


def test_wrong_pairs_can_be_dropped(model, pairs):
    """The toy model is random, so some are; what is left prefers its own answers."""
    found = patch(model, NameGender(), [Site(0, "block_input", ALL)], n=24, filter_correct=True)
    every = patch(model, NameGender(), [Site(0, "block_input", ALL)], n=24)
    assert found.pairs < every.pairs and found.clean.ld > max(0.0, every.clean.ld) and found.corrupted.ld < 0


def test_what_cannot_be_patched(model, pairs):
    with pytest.raises(InputError, match="no site"):
        patch(model, pairs, [])
    with pytest.raises(UnknownChoiceError, match="denoising"):
        patch(model, pairs, [Site(1)], direction="denoise")
    with pytest.raises(SiteError):
        patch(model, pairs, [Site(9)])


def test_the_model_is_left_as_it_was(model, pairs):
    before = logits(model, pairs[0].base.text)
    patch(model, pairs, grid(model), corruption=Noise("span:name"))
    assert torch.equal(before, logits(model, pairs[0].base.text))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_results_as_plain_data(model, pairs):
    data = patch(model, pairs, grid(model, layers=[0, 1]), windows=[2]).to_json()
    assert data["direction"] == "denoising" and set(data["clean"]) == {"p", "ld"}
    single, _, window = data["rows"]
    assert {"layers", "component", "positions", "heads", "tokens", "p", "ld", "kl"} == set(single)
    assert window["layers"] == [0, 1] and "sum_of_singles/ld" in window
