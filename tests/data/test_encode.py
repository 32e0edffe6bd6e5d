from __future__ import annotations

import pytest

from das.data.encode import Encoder
from das.errors import ConfigError, ContextLengthError, LabelError, PositionError, TokenizerError
from das.types import Prompt


def _text_of(encoded, group):
    return encoded.text[encoded.offsets[group[0]][0] : encoded.offsets[group[-1]][1]]


@pytest.mark.parametrize("name", ["Tim", "Sue", "Timothy", "Zoë", "Susannabella", "Mary Ann"])
@pytest.mark.parametrize("where", ["[[{}]] went home because", "One day [[{}]] went to see [[{}]], because"])
def test_span_tokens_cover_the_name_and_nothing_else(any_tokenizer, name, where):
    prompt = Prompt.from_marked(where.format(name, name), "name")
    encoded = Encoder(any_tokenizer).encode(prompt)
    assert len(encoded.spans["name"]) == len(prompt.spans["name"])
    for group, (start, end) in zip(encoded.spans["name"], prompt.spans["name"], strict=True):
        assert group == list(range(group[0], group[-1] + 1))
        assert _text_of(encoded, group).strip() == name
        assert any_tokenizer.decode([encoded.ids[i] for i in group]).strip() == name
        assert encoded.text[start:end] == name
        assert group[0] >= encoded.prefix


def test_mention_with_outer_spaces_has_the_same_tokens(any_tokenizer):
    encoder = Encoder(any_tokenizer)
    plain = encoder.encode(Prompt.from_marked("See [[Tim]] there", "name"))
    spaced = encoder.encode(Prompt.from_marked("See[[ Tim ]]there", "name"))
    assert plain.ids == spaced.ids and plain.spans == spaced.spans


def test_dummy_space_belongs_to_no_mention(any_tokenizer):
    encoded = Encoder(any_tokenizer).encode(Prompt.from_marked("[[Zebra]] ran", "name"))
    tokens = any_tokenizer.convert_ids_to_tokens([encoded.ids[i] for i in encoded.spans["name"][0]])
    assert all(token.strip("▁Ġ") for token in tokens)


def test_prefix_is_bos_and_trailing_eos_is_dropped(tokenizer, make_tokenizer):
    plain = Encoder(tokenizer).encode(Prompt("Tim went"))
    with_eos = Encoder(make_tokenizer(add_eos=True)).encode(Prompt("Tim went"))
    assert plain.prefix == 1 and plain.ids[0] == tokenizer.bos_token_id
    assert with_eos.ids == plain.ids


def test_no_special_tokens_no_prefix(tokenizer, make_tokenizer):
    bare = make_tokenizer()
    bare.backend_tokenizer.post_processor = None
    encoded = Encoder(bare).encode(Prompt("Tim went"))
    assert encoded.prefix == 0
    assert encoded.ids == Encoder(tokenizer).encode(Prompt("Tim went")).ids[1:]


def test_encode_all_equals_encode(any_tokenizer):
    encoder = Encoder(any_tokenizer)
    prompts = [Prompt.from_marked(t, "n") for t in ("[[Tim]] went", "So [[Sue]] saw that [[Sue]]", "no")]
    assert list(encoder.encode_all(prompts)) == [encoder.encode(p) for p in prompts]


def test_label_continues_the_prompt(any_tokenizer):
    encoder = Encoder(any_tokenizer)
    prompt = encoder.encode(Prompt("Tim went home because"))
    for label in (" he", " she", " Timothy"):
        ids = encoder.label_ids(prompt, label)
        assert prompt.ids + ids == encoder.encode(Prompt(prompt.text + label)).ids
    ids = encoder.label_ids(prompt, " she")
    assert encoder.only(ids, prompt, " she") == ids[0]


def test_label_of_several_tokens_names_them(any_tokenizer):
    encoder = Encoder(any_tokenizer)
    prompt = encoder.encode(Prompt("Tim saw"))
    with pytest.raises(LabelError, match=r"label ' xylophones' must be a single token\. Got \[.*\] after 'Tim saw'"):
        encoder.only(encoder.label_ids(prompt, " xylophones"), prompt, " xylophones")


def test_a_label_that_lacks_its_space_is_told_so(tokenizer):
    encoder = Encoder(tokenizer)
    prompt = encoder.encode(Prompt("Tim saw"))
    with pytest.raises(LabelError, match=r"label 'she' must be a single token.*Write ' she': a label starts"):
        encoder.only(encoder.label_ids(prompt, "she"), prompt, "she")
    with pytest.raises(LabelError, match="train on the whole label"):
        encoder.only(encoder.label_ids(prompt, "xylophones"), prompt, "xylophones")


def test_merge_across_the_boundary(any_tokenizer):
    encoder = Encoder(any_tokenizer)
    prompt = encoder.encode(Prompt("Tim wa"))
    with pytest.raises(LabelError, match=r"'s' merges with the end of its prompt.*ends in \[.*a'\].*Move the space"):
        encoder.label_ids(prompt, "s")


def test_empty_label(tokenizer):
    encoder = Encoder(tokenizer)
    with pytest.raises(LabelError, match="no tokens"):
        encoder.label_ids(encoder.encode(Prompt("Tim")), "")


def test_response_ids_have_no_special_and_no_dummy_space(any_tokenizer):
    encoder = Encoder(any_tokenizer)
    prompt = encoder.encode(Prompt("Tim went"))
    assert encoder.response_ids(" home") == encoder.label_ids(prompt, " home")
    assert any_tokenizer.decode(list(prompt.ids[prompt.prefix :] + encoder.response_ids("home"))) == "Tim wenthome"
    with pytest.raises(LabelError, match="no tokens"):
        encoder.response_ids("")


def test_context_length_names_both_numbers(tokenizer):
    encoder = Encoder(tokenizer, context_length=5)
    with pytest.raises(ContextLengthError, match=r"has \d+ tokens, but the model's context is 5"):
        encoder.encode(Prompt("Tim went home because he was tired"))
    short = encoder.encode(Prompt("Tim"))
    encoder.check_length(short, 5 - len(short))
    with pytest.raises(ContextLengthError, match=r"has 6 tokens.*context is 5.*2 prompt tokens and 4 response tokens"):
        encoder.check_length(short, 4)


def test_slow_tokenizer_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(TokenizerError, match="only fast tokenizers"):
        Encoder(tokenizer)


# ------------------------------------------------------------------------------------------------ chat


def test_chat_shifts_spans_and_counts_the_shared_prefix(chat_tokenizer):
    prompt = Prompt.from_marked("Did [[user]] see [[Tim]]?", "name")
    encoded = Encoder(chat_tokenizer, chat=True).encode(prompt)
    assert encoded.text == "<s><|user|>\nDid user see Tim?<|end|>\n<|assistant|>\n"
    assert [_text_of(encoded, g).strip() for g in encoded.spans["name"]] == ["user", "Tim"]
    assert chat_tokenizer.convert_ids_to_tokens(list(encoded.ids[: encoded.prefix])) == ["<s>", "<|user|>", "Ċ"]
    assert encoded.ids.count(chat_tokenizer.bos_token_id) == 1


def test_chat_prefix_contains_the_system_prompt(chat_tokenizer):
    with_system = Encoder(chat_tokenizer, chat=True, system="Be kind").encode(Prompt("Hi"))
    without = Encoder(chat_tokenizer, chat=True).encode(Prompt("Hi"))
    assert with_system.prefix > without.prefix
    assert "Be kind" in chat_tokenizer.decode(list(with_system.ids[: with_system.prefix]))


def test_chat_message_that_repeats_the_header_is_found(chat_tokenizer):
    encoded = Encoder(chat_tokenizer, chat=True).encode(Prompt("user", {"w": ((0, 4),)}))
    assert encoded.spans["w"][0][0] == encoded.prefix


def test_chat_template_that_strips_is_an_error_only_where_it_does(chat_tokenizer):
    chat_tokenizer.chat_template = chat_tokenizer.chat_template.replace("m.content", "m.content | trim")
    encoder = Encoder(chat_tokenizer, chat=True)
    encoder.encode(Prompt("Hi Tim"))
    with pytest.raises(PositionError, match=r"altered the prompt's text.*' Hi Tim' rendered as '<s>"):
        encoder.encode(Prompt(" Hi Tim"))


def test_chat_errors(tokenizer, chat_tokenizer):
    with pytest.raises(TokenizerError, match="no chat template"):
        Encoder(tokenizer, chat=True)
    with pytest.raises(ConfigError, match="needs chat=True"):
        Encoder(chat_tokenizer, system="Be kind")
    body = chat_tokenizer.chat_template
    chat_tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + body
    )
    Encoder(chat_tokenizer, chat=True)
    with pytest.raises(TokenizerError, match=r"refuses these messages.*no system"):
        Encoder(chat_tokenizer, chat=True, system="Be kind")
    chat_tokenizer.chat_template = body + "{{ messages[0].content }}"
    with pytest.raises(TokenizerError, match=r"exactly once\. Got 2 times"):
        Encoder(chat_tokenizer, chat=True)


def test_chat_label_follows_the_generation_header(chat_tokenizer):
    encoder = Encoder(chat_tokenizer, chat=True)
    prompt = encoder.encode(Prompt("Yes or no?"))
    assert prompt.ids + encoder.label_ids(prompt, "Yes") == tuple(
        chat_tokenizer(prompt.text + "Yes", add_special_tokens=False).input_ids
    )
