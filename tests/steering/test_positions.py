"""Steering is keyed on real positions: the same edits however a text is run, and never on padding."""

from __future__ import annotations

import pytest
import torch

from das.data.encode import Encoder
from das.data.positions import parse_positions, resolve
from das.data.tokenize import EncodedPrompt
from das.errors import InputError, PositionError
from das.methods.hypersteer import hypersteer
from das.steering.steer import steer
from das.steering.tables import tabulate
from das.types import Prompt, Site
from tests.families import WINDOW, tiny_ids
from tests.steering.conftest import LEVEL, WORDS

FAMILIES = ("llama-gqa", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "qwen3", "olmo2")
SPECS = ("all", "last", "generated", "from:18", "span:name:last")
LONG = WINDOW + 5
TEXTS = ["Tim went home and Tim was sad . one day he saw a big red dog", "a park . Sue was", "Ann saw Bob"]


def padded(tokenizer, texts=TEXTS):
    tokenizer.padding_side = "left"
    return dict(tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False))


def rows_alone(model, tokenizer, generated, texts=TEXTS, **kwargs):
    found = [generated(model, padded(tokenizer, [t]), **kwargs) for t in texts]
    return torch.cat([x[0] for x in found]), torch.cat([x[1] for x in found])


def same(found, expected):
    torch.testing.assert_close(found[0], expected[0], atol=1e-5 * float(expected[0].abs().max()), rtol=1e-5)
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("name", "spec"),
    [(name, "all") for name in FAMILIES] + [(n, s) for n in FAMILIES[:3] for s in ("last", "span:name")],
)
def test_same_logits_with_cache_without_padded_and_alone(name, spec, family, make_subspace, tokenizer, generated):
    """Longer than the sliding window, so that a cache has forgotten its first columns."""
    model, rows = family(name), padded(tokenizer)
    with steer(model, make_subspace(model, spec), 1, tokenizer=tokenizer):
        expected = rows_alone(model, tokenizer, generated, use_cache=False)
        same(generated(model, rows), expected)
        same(generated(model, rows, use_cache=False), expected)
    assert not torch.allclose(generated(model, rows)[0], expected[0], atol=1e-2)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", ["llama-gqa", "gemma2", "gpt2"])
def test_same_logits_in_static_and_chunked_runs(name, spec, family, make_subspace, tokenizer, generated):
    model, rows = family(name), padded(tokenizer)
    with steer(model, make_subspace(model, spec), -1.5, tokenizer=tokenizer):
        expected = generated(model, rows, use_cache=False)
        same(generated(model, rows), expected)
        same(generated(model, rows, cache_implementation="static"), expected)
        for chunk in (1, 3):
            same(generated(model, rows, prefill_chunk_size=chunk), expected)


@pytest.mark.parametrize("spec", ["all", "last", "generated"])
def test_beams_repeat_rows(spec, llama, make_subspace, tokenizer):
    rows, factors = padded(tokenizer), torch.tensor([1.0, -1.0, 2.0])
    settings = {"max_new_tokens": 6, "num_beams": 3, "num_return_sequences": 2, "do_sample": False, "pad_token_id": 0}
    subspace = make_subspace(llama, spec)
    with steer(llama, subspace, factors, tokenizer=tokenizer):
        together = llama.generate(**rows, **settings)[:, rows["input_ids"].shape[1] :]
    for i, factor in enumerate(factors.tolist()):
        one = padded(tokenizer, TEXTS[i : i + 1])
        with steer(llama, subspace, factor, tokenizer=tokenizer):
            alone = llama.generate(**one, **settings)[:, one["input_ids"].shape[1] :]
        assert torch.equal(together[2 * i : 2 * i + 2, : alone.shape[1]], alone)


def clamped(model, subspace, run):
    """Columns whose coordinates hold the positive mean, per forward that `run()` makes: list of (B, T)."""
    seen = []
    target = LEVEL + 0.1 * torch.arange(2)

    def look(module, args, output):
        seen.append(((output @ subspace.basis() - target).abs() < 1e-3).all(-1))

    handle = model.model.layers[1].register_forward_hook(look)
    try:
        run()
    finally:
        handle.remove()
    return seen


def whole(columns, rows):
    """Selected real positions per row of a prompt padded left and what followed it."""
    table, mask = torch.cat(columns, 1), rows["attention_mask"].bool()
    starts = mask.long().argmax(1).tolist()
    return [sorted((row[start:]).nonzero()[:, 0].tolist()) for row, start in zip(table, starts, strict=True)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [  # the rows have 6 and 4 tokens with <s>, and 4 more are written of which the last is never run
        ("all", [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6]]),
        ("prompt", [[1, 2, 3, 4, 5], [1, 2, 3]]),
        ("generated", [[6, 7, 8], [4, 5, 6]]),
        ("last", [[5], [3]]),
        ("first", [[1], [1]]),
        ("from:0", [list(range(9)), list(range(7))]),
        ("from:5", [[5, 6, 7, 8], [5, 6]]),
        ("from:7", [[7, 8], []]),
        ("index:0", [[0], [0]]),
        ("index:2", [[2], [2]]),
        ("index:-2", [[4], [2]]),
        ("f2", [[1, 2], [1, 2]]),
        ("l2", [[4, 5], [2, 3]]),
        ("span:name", [[1, 4], [3]]),
        ("span:name:last", [[1, 4], [3]]),
        ("template:was", [[5], [2]]),
    ],
)
@pytest.mark.parametrize("cache", [True, False])
def test_exactly_these_positions_and_no_pads(spec, expected, cache, llama, make_subspace, tokenizer):
    rows, subspace = padded(tokenizer, ["Tim saw and Sue was", "he was Bob"]), make_subspace(llama, spec)
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "use_cache": cache}
    with steer(llama, subspace, 1, tokenizer=tokenizer):
        seen = clamped(llama, subspace, lambda: llama.generate(**rows, **settings))
    columns = seen if cache else seen[-1:]
    assert whole(columns, rows) == expected
    pads = ~rows["attention_mask"].bool()
    assert not columns[0][:, : pads.shape[1]][pads].any()


@pytest.mark.parametrize(
    "text",
    [
        *("all", "prompt", "generated", "last", "first", "from:0", "from:5", "from:7", "index:0", "index:5"),
        *("index:-6", "f2", "l9", "f1+l1", "span:name", "span:name:last", "template:was"),
    ],
)
def test_steering_selects_what_training_wrote(text):
    """One meaning: a prompt of 6 tokens, the first its prefix, and 3 more."""
    spans, offsets = {"name": [[1, 2], [4]]}, ((0, 0), (0, 3), (3, 5), (6, 9), (10, 13), (14, 17))
    prompt, spec = EncodedPrompt(tuple(range(6)), offsets, 1, "Timmy saw Sue was", spans), parse_positions(text)
    trained = sorted(i for group in resolve(spec, prompt, 3) for i in group)
    steered = tabulate(spec, [prompt], torch.device("cpu")).at(torch.arange(9)[None])
    assert steered[0].nonzero()[:, 0].tolist() == trained


@pytest.mark.parametrize("text", ["index:7", "index:-7", "template:xyz"])
def test_what_a_prompt_lacks_is_the_same_error_in_training_and_in_steering(text, llama, make_subspace, tokenizer):
    prompt, spec = Encoder(tokenizer).encode(Prompt("Tim saw and Sue was")), parse_positions(text)
    with pytest.raises(PositionError) as trained:
        resolve(spec, prompt, 4)
    subspace = make_subspace(llama, text)
    with steer(llama, subspace, 1, tokenizer=tokenizer) as steering:
        for run in (
            lambda: steering.generate(["Tim saw and Sue was"], 4),
            lambda: llama.generate(**padded(tokenizer, ["Tim saw and Sue was"]), max_new_tokens=4),
            lambda: llama(**padded(tokenizer, ["Tim saw and Sue was"])),
        ):
            with pytest.raises(PositionError) as steered:
                run()
            assert steered.value.what == trained.value.what and steered.value.remedy == trained.value.remedy


def test_a_prompt_of_nothing_but_its_prefix_has_no_first_token(llama, make_subspace, tokenizer):
    with (
        steer(llama, make_subspace(llama, "first"), 1, tokenizer=tokenizer) as steering,
        pytest.raises(PositionError, match="'first' select no token"),
    ):
        steering.generate([""], 4)


def test_pads_are_inferred_as_generate_does(llama, make_subspace, tokenizer):
    """Without a mask `generate` takes pad tokens for padding; so does steering."""
    rows, subspace = padded(tokenizer, ["Tim saw and Sue was", "he was Bob"]), make_subspace(llama, "from:0")
    settings = {"max_new_tokens": 1, "do_sample": False, "pad_token_id": 0}
    with steer(llama, subspace, 1):
        [seen] = clamped(llama, subspace, lambda: llama.generate(rows["input_ids"], **settings))
        assert torch.equal(seen, rows["attention_mask"].bool())
        [seen] = clamped(llama, subspace, lambda: llama.generate(inputs=rows["input_ids"], **settings))
        assert torch.equal(seen, rows["attention_mask"].bool())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("spec", ["last", "span:name", "all", "prompt"])
def test_a_bare_forward_is_all_prompt(side, spec, llama, make_subspace, tokenizer):
    texts = ["Tim saw and Sue was", "he was Bob"]
    tokenizer.padding_side = side
    rows = dict(tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False))
    positions = (rows["attention_mask"].cumsum(1) - 1).clamp(min=0)
    subspace = make_subspace(llama, spec)
    expected = {"last": [[5], [3]], "span:name": [[1, 4], [3]]}.get(spec, [[1, 2, 3, 4, 5], [1, 2, 3]])
    with steer(llama, subspace, 1, tokenizer=tokenizer):
        for more in ({}, {"position_ids": positions}):
            [seen] = clamped(llama, subspace, lambda more=more: llama(**rows, **more))
            assert whole([seen], rows) == expected


def test_positional_arguments_and_one_row_of_positions(llama, make_subspace):
    ids, subspace = tiny_ids(), make_subspace(llama, "from:7")
    with steer(llama, subspace, 1):
        [seen] = clamped(llama, subspace, lambda: llama(ids, torch.ones_like(ids), torch.arange(20)[None]))
        assert seen[:, 7:].all() and not seen[:, :7].any()
        [seen] = clamped(llama, subspace, lambda: llama(ids, position_ids=torch.arange(100, 120)[None]))
        assert seen.all()


def test_packed_rows_are_steered_by_position(llama, make_subspace):
    packed = torch.cat([torch.arange(6), torch.arange(8)])[None]
    subspace = make_subspace(llama, "from:4")
    with steer(llama, subspace, 1):
        [seen] = clamped(llama, subspace, lambda: llama(tiny_ids(1, 14), position_ids=packed))
    assert torch.equal(seen, packed >= 4)
    with steer(llama, subspace, 1, positions="last"), pytest.raises(PositionError, match="packed rows"):
        llama(tiny_ids(1, 14), position_ids=packed)


def test_a_loop_with_a_cache_of_ones_own(llama, make_subspace):
    ids = tiny_ids(2, 12)
    for spec in ("all", "from:8"):
        with steer(llama, make_subspace(llama, spec), 1):
            expected = llama(ids).logits
            first = llama(ids[:, :5], use_cache=True)
            rest = llama(ids[:, 5:], past_key_values=first.past_key_values)
        torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), expected, atol=1e-4, rtol=1e-4)


def test_prompt_positions_in_the_middle_of_a_text(llama, make_subspace, tokenizer):
    rows = padded(tokenizer, ["Tim saw and Sue was"])
    with steer(llama, make_subspace(llama, "last"), 1, tokenizer=tokenizer):
        first = llama(**rows, use_cache=True)
        with pytest.raises(PositionError, match=r"'last' depend on the prompt.*model.generate.*prompts="):
            llama(torch.tensor([[5]]), past_key_values=first.past_key_values)


def test_bound_prompts_know_where_a_response_begins(llama, make_subspace, tokenizer):
    prompts, subspace = ["Tim saw and Sue was", "he was Bob"], make_subspace(llama, "generated")
    rows = padded(tokenizer, [p + " happy sad" for p in prompts])
    with steer(llama, subspace, 1, tokenizer=tokenizer, prompts=prompts) as steering:
        [seen] = clamped(llama, subspace, lambda: llama(**rows))
        assert whole([seen], rows) == [[6, 7], [4, 5]]
        first = llama(**steering.encode(prompts), use_cache=True)
        mask = torch.cat([steering.encode(prompts)["attention_mask"], torch.ones(2, 1, dtype=torch.long)], 1)
        [seen] = clamped(
            llama,
            subspace,
            lambda: llama(torch.tensor([[5], [6]]), attention_mask=mask, past_key_values=first.past_key_values),
        )
        assert seen.all()
        with pytest.raises(InputError, match="row 0 is not the prompt"):
            llama(**padded(tokenizer, prompts[::-1]))
        with pytest.raises(InputError, match="3 rows and 2 prompts"):
            llama.generate(**padded(tokenizer, [*prompts, "Tim"]), max_new_tokens=1, do_sample=False)
        with pytest.raises(InputError, match="not the prompt"):
            llama.generate(**padded(tokenizer, prompts[::-1]), max_new_tokens=1, do_sample=False)


def test_a_hypernetwork_is_not_shown_the_answer(llama, make_subspace, tokenizer, generated):
    """Whatever is read after the prompt, the vector of a prompt is the one that `generate` steers with."""
    subspace = make_subspace(llama, make=lambda width, rank: hypersteer(width, hidden=8, layers=1, heads=2))
    told = {"concept": "a red dog", "tokenizer": tokenizer}
    with steer(llama, subspace, 5.0, prompts=TEXTS, **told):
        first, *others = (
            llama(**padded(tokenizer, [t + end for t in TEXTS]), output_hidden_states=True).hidden_states[2][:, :-2]
            for end in (" he went", " she saw", " big big")
        )
    assert all(torch.allclose(first, other, atol=1e-6) for other in others)
    assert not torch.allclose(first, llama(**padded(tokenizer), output_hidden_states=True).hidden_states[2], atol=0.1)
    with steer(llama, subspace, 5.0, **told):
        cached, whole = (generated(llama, padded(tokenizer), use_cache=use) for use in (True, False))
    same(cached, whole)


def test_marks_find_what_the_finder_does_not_know(llama, make_subspace, tokenizer):
    subspace = make_subspace(llama, "span:name")
    rows = padded(tokenizer, ["she saw Ann"])
    with (
        steer(llama, subspace, 1, tokenizer=tokenizer),
        pytest.raises(
            PositionError,
            match=r"steered at span 'name', but its finder \(3 known words\) did not find it.*\[\[\.\.\.\]\]",
        ),
    ):
        llama(**rows)
    with steer(llama, subspace, 1, tokenizer=tokenizer, prompts=["she saw [[Ann]]"]):
        [seen] = clamped(llama, subspace, lambda: llama(**rows))
    assert whole([seen], rows) == [[3]]
    unknown = make_subspace(llama, "span:name", finder=None)
    with pytest.raises(PositionError, match="no finder"), steer(llama, unknown, 1, tokenizer=tokenizer) as steering:
        steering.generate(["she saw Ann"])
    with steer(llama, unknown, 1, tokenizer=tokenizer) as steering:
        assert len(steering.generate(["she saw [[Ann]]", "[[Bob]] saw [[Ann]]"], 3)) == 2


def test_the_prompt_is_forgotten_after_generate(llama, make_subspace, tokenizer):
    rows, subspace = padded(tokenizer, ["Tim saw and Sue was"]), make_subspace(llama, "last")
    with steer(llama, subspace, 1, tokenizer=tokenizer):
        llama.generate(**rows, max_new_tokens=2, do_sample=False, pad_token_id=0)
        with pytest.raises(IndexError):
            llama.generate(torch.full((1, 3), 10**6), max_new_tokens=2, do_sample=False, pad_token_id=0)
        shorter = padded(tokenizer, ["he was Bob"])
        [seen] = clamped(llama, subspace, lambda: llama(**shorter))
    assert whole([seen], shorter) == [[3]]


def test_embeddings_instead_of_ids(llama, make_subspace, tokenizer):
    rows, subspace = padded(tokenizer, ["Tim saw and Sue was", "he was Bob"]), make_subspace(llama, "last")
    embeds = llama.get_input_embeddings()(rows["input_ids"])
    settings = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    with steer(llama, subspace, 1, tokenizer=tokenizer):
        expected = llama.generate(**rows, **settings)[:, rows["input_ids"].shape[1] :]
        found = llama.generate(inputs_embeds=embeds, attention_mask=rows["attention_mask"], **settings)
    assert torch.equal(found, expected)
    with (
        steer(llama, make_subspace(llama, "span:name"), 1, tokenizer=tokenizer),
        pytest.raises(PositionError, match="only embeddings"),
    ):
        llama.generate(inputs_embeds=embeds, attention_mask=rows["attention_mask"], **settings)


def test_without_a_tokenizer_special_tokens_come_from_the_config(llama, make_subspace):
    ids, subspace = tiny_ids(2, 6), make_subspace(llama, "all")
    ids[0, 0] = 1
    with steer(llama, subspace, 1):
        [seen] = clamped(llama, subspace, lambda: llama(ids))
    assert seen.tolist() == [[False] + [True] * 5, [True] * 6]


@pytest.mark.parametrize("component", ["mlp_output", "attention_output", "block_input", "resid_mid", "query_output"])
def test_components_are_steered_alike_with_and_without_cache(component, llama, make_subspace, tokenizer, generated):
    subspace = make_subspace(llama, "all", Site(1, component, "all"), Site(2, "block_output", "last"))
    rows = padded(tokenizer)
    with steer(llama, subspace, 1, tokenizer=tokenizer):
        same(generated(llama, rows), rows_alone(llama, tokenizer, generated, use_cache=False))


def test_heads_are_steered_alone(llama, make_subspace):
    site = Site(1, "head_attention_value_output", "all", heads=(2,))
    subspace, ids, seen = make_subspace(llama, "all", site, width=8), tiny_ids(), []
    handle = llama.model.layers[1].self_attn.o_proj.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    try:
        llama(ids)
        with steer(llama, subspace, 1):
            llama(ids)
    finally:
        handle.remove()
    changed = (seen[0] != seen[1]).any(0).any(0)
    assert changed[16:24].all() and not changed[:16].any() and not changed[24:].any()


def test_the_longest_text_is_longer_than_the_window(tokenizer):
    assert len(tokenizer(TEXTS[0]).input_ids) + 5 > LONG and len(set(WORDS)) == len(WORDS)
