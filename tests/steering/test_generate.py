"""Text from prompts, steered and not."""

from __future__ import annotations

import logging

import pytest
import torch

from das.errors import ContextLengthError, InputError
from das.models.load import load_model, load_tokenizer
from das.steering.calls import Call, Given, expand_rows
from das.steering.generate import generate_text
from das.steering.steer import steer
from das.types import Prompt, Site
from tests.families import tiny_model

PROMPTS = ["One day, a boy named Tim went to the park. Tim", "A happy girl named Sue was", "Once"]


@pytest.fixture(scope="module")
def stories(shared_path):
    path = shared_path("models/stories3M")
    return load_model(path), load_tokenizer(path)


@pytest.mark.parametrize("spec", ["all", "generated", "l2", "span:name", "span:name:last"])
def test_stories_write_the_same_text_however_they_are_run(spec, stories, make_subspace):
    model, tokenizer = stories
    prompts = PROMPTS[:2] if spec.startswith("span") else PROMPTS
    subspace = make_subspace(model, spec, level=4.0, width=model.config.hidden_size)
    plain = generate_text(model, tokenizer, prompts, 16)
    with steer(model, subspace, 1) as steering:  # finds its own tokenizer
        texts = steering.generate(prompts, 16)
        assert texts == steering.generate(prompts, 16, use_cache=False)
        assert texts == steering.generate(prompts, 16, cache_implementation="static")
        assert texts == steering.generate(prompts, 16, prefill_chunk_size=2)
        assert texts == [steering.generate([p], 16)[0] for p in prompts]
        rows = steering.encode(prompts)
        ids = model.generate(**rows, max_new_tokens=16, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        whole = tokenizer.batch_decode(ids, skip_special_tokens=True)
        assert all(w.startswith(p + t) for w, p, t in zip(whole, prompts, texts, strict=True))
    assert texts != plain
    assert generate_text(model, tokenizer, prompts, 16) == plain


def test_continuations_keep_their_leading_space(stories):
    model, tokenizer = stories
    [text] = generate_text(model, tokenizer, ["Once upon a"], 3)
    assert text.startswith(" time")


def test_marks_are_stripped_and_steered(llama, make_subspace, tokenizer):
    subspace = make_subspace(llama, "span:name")
    with steer(llama, subspace, 1, tokenizer=tokenizer) as steering:
        marked = steering.generate(["she saw [[Ann]] and Tim"], 6)
        offsets = {"name": ((8, 11),)}
        assert marked == steering.generate([Prompt("she saw Ann and Tim", offsets)], 6)
        assert marked != steering.generate(["she saw Ann and Tim"], 6)
    plain = [generate_text(llama, tokenizer, [text], 6) for text in ("she saw [[Ann]]", "she saw Ann")]
    assert plain[0] == plain[1]


def test_returned_sequences_come_in_order(llama, make_subspace, tokenizer):
    with steer(llama, make_subspace(llama), [1.0, -1.0], tokenizer=tokenizer) as steering:
        texts = steering.generate(["Tim saw", "Sue went home and"], 4, num_beams=2, num_return_sequences=2)
        best = steering.generate(["Tim saw", "Sue went home and"], 4, num_beams=2)
    assert len(texts) == 4 and texts[::2] == best


def test_sampling_settings_of_the_model_neither_apply_nor_warn(make_subspace, tokenizer, caplog):
    model = tiny_model("llama-gqa")
    prompts = ["Tim saw", "Sue went home and"]
    plain = generate_text(model, tokenizer, prompts, 5)
    model.generation_config.update(
        do_sample=True, temperature=0.3, top_k=7, top_p=0.5, num_beams=2, max_length=30, pad_token_id=None
    )
    logger = logging.getLogger("transformers")
    logger.propagate = True
    try:
        with caplog.at_level("WARNING"), steer(model, make_subspace(model), 1, tokenizer=tokenizer) as steering:
            assert steering.generate(prompts, 5) == steering.generate(prompts, 5)
        assert generate_text(model, tokenizer, prompts, 5) == plain
        sampled = {
            generate_text(model, tokenizer, prompts, 5, do_sample=True, temperature=5.0, top_p=1.0)[0] for _ in range(5)
        }
    finally:
        logger.propagate = False
    assert len(sampled) > 1 and not caplog.records
    assert model.generation_config.temperature == 0.3


def test_the_tokenizer_is_left_alone(llama, make_subspace, tokenizer):
    tokenizer.padding_side = "right"
    with steer(llama, make_subspace(llama), 1, tokenizer=tokenizer) as steering:
        steering.generate(["Tim saw", "Sue went home and"], 2)
    assert tokenizer.padding_side == "right"


@pytest.mark.parametrize("prompts", ["Tim", []])
def test_prompts_must_be_a_list(prompts, llama, make_subspace, tokenizer):
    with pytest.raises(InputError, match="list with at least one text"):
        generate_text(llama, tokenizer, prompts)
    with (
        steer(llama, make_subspace(llama), 1, tokenizer=tokenizer) as steering,
        pytest.raises(InputError, match="list with at least one text"),
    ):
        steering.generate(prompts)


def test_too_long(llama, make_subspace, tokenizer):
    with pytest.raises(ContextLengthError, match="context is 128"):
        generate_text(llama, tokenizer, ["Tim"], 200)


def test_chat_as_trained(llama, make_subspace, tokenizer):
    chat = "<s> {% for m in messages %}{{ m.role }} : {{ m.content }}{% endfor %}"
    subspace = make_subspace(llama, "all", training={"data": {"chat": True, "system": None}})
    before = tokenizer.chat_template
    tokenizer.chat_template = chat + " he"
    try:
        with steer(llama, subspace, 1, tokenizer=tokenizer) as steering:
            ids = steering.encode(["Tim saw"])["input_ids"]
            assert tokenizer.decode(ids[0]).endswith("Tim saw he")
            header = tokenizer(chat.split(" {%")[0] + " user :", add_special_tokens=False).input_ids
            hidden = llama(ids, output_hidden_states=True).hidden_states[2]
            text = steering.generate(["Tim saw"], 4)
        plain = llama(ids, output_hidden_states=True).hidden_states[2]
        changed = (hidden - plain).abs().amax(-1)[0] > 1e-3
        assert not changed[: len(header)].any() and changed[len(header) :].all()
        assert len(text) == 1
        assert generate_text(llama, tokenizer, ["Tim saw"], 4, like=subspace) != text
    finally:
        tokenizer.chat_template = before


def test_a_layer_and_a_module_path_are_the_same_site(llama, make_subspace, tokenizer):
    named = make_subspace(llama, "all", Site(1, "mlp_output", "all"))
    path = make_subspace(llama, "all", Site(None, "model.layers.1.mlp", "all"))
    texts = []
    for subspace in (named, path):
        with steer(llama, subspace, 1, tokenizer=tokenizer) as steering:
            texts.append(steering.generate(["Tim saw"], 6))
    assert texts[0] == texts[1]


class TensorCache:
    def get_seq_length(self):
        return torch.tensor(3)


def test_pads_in_a_call_whose_mask_is_not_two_dimensional():
    mask = torch.tensor([[0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1]]).bool()
    arguments = {"past_key_values": TensorCache(), "attention_mask": torch.zeros(4, 1, 4, 9)}
    call = Call(arguments, 4, 4, torch.device("cpu"), Given(None, mask, True))
    assert call.valid.tolist() == [[False, True, True, True]] * 2 + [[True] * 4] * 2
    assert call.positions.tolist() == [[3, 4, 5, 6]] * 4 and not call.decoding


def test_rows_repeat_in_place():
    assert expand_rows(torch.tensor([1, 2]), 4, "factors").tolist() == [1, 1, 2, 2]
    assert expand_rows(torch.tensor([1]), 3, "factors").tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="5 rows and 2 factors"):
        expand_rows(torch.tensor([1, 2]), 5, "factors")
