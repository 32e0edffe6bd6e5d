from __future__ import annotations

import pytest

from das.data.encode import Encoder
from das.data.positions import parse_positions, resolve
from das.data.spans import as_prompt, prompt_from_ids
from das.errors import TokenizerError
from das.types import MARK, Prompt, SpanFinder

FINDER = SpanFinder("name", ("Tim", "Zoë", "Susannabella"))


def test_marks_win_over_the_finder():
    prompt = as_prompt("Tim saw [[Sue]]", ("name",), FINDER)
    assert prompt == Prompt("Tim saw Sue", {"name": ((8, 11),)})


def test_span_names_the_marks():
    assert set(as_prompt("[[Sue]]", ("who", "whom"), FINDER).spans) == {"who", "whom"}
    assert set(as_prompt("[[Sue]]").spans) == {MARK}


def test_finder_then_nothing():
    assert as_prompt("Tim saw Timmy and Tim", (), FINDER).spans == {"name": ((0, 3), (18, 21))}
    assert as_prompt("Bob saw Sue", (), FINDER) == Prompt("Bob saw Sue")
    assert as_prompt("Tim saw Sue") == Prompt("Tim saw Sue")


@pytest.mark.parametrize(
    "text", ["Tim saw Zoë, and Susannabella saw Tim.", " Tim  saw\n\nZoë ", "Zoë", "nobody is here"]
)
def test_ids_give_the_same_spans_as_text(any_tokenizer, text):
    expected = Encoder(any_tokenizer).encode(as_prompt(text, (), FINDER))
    found = prompt_from_ids(any_tokenizer, expected.ids, FINDER)
    assert found.ids == expected.ids and found.prefix == expected.prefix == 1
    assert found.spans == expected.spans
    assert found.text == text and found.offsets == expected.offsets


def test_ids_that_text_would_not_give(any_tokenizer):
    """Letters that would merge: offsets come from decoding ever longer beginnings."""
    encode = any_tokenizer.convert_tokens_to_ids
    words = [any_tokenizer.encode(w, add_special_tokens=False) for w in ("because", " Zoë", " because")]
    space = any_tokenizer.convert_ids_to_tokens(words[2][:1])[0][0]
    letters = encode([space, "T", "i", "m"])
    ids = [any_tokenizer.bos_token_id, *words[0], *words[1], *letters]
    found = prompt_from_ids(any_tokenizer, ids, FINDER)
    assert any_tokenizer.encode(found.text) != ids, "the test needs ids that are not canonical"
    zoe, tim = found.spans["name"]
    assert [found.ids[i] for i in tim] == letters[1:] or [found.ids[i] for i in tim] == letters
    assert set(zoe) <= set(range(1 + len(words[0]), 1 + len(words[0]) + len(words[1])))
    assert zoe[-1] == len(words[0]) + len(words[1])


def test_chat_ids_take_the_prefix_they_are_given(chat_tokenizer):
    encoder = Encoder(chat_tokenizer, chat=True)
    expected = encoder.encode(as_prompt("Did Tim go?", (), FINDER))
    found = prompt_from_ids(chat_tokenizer, expected.ids, FINDER, prefix=expected.prefix)
    assert found.prefix == expected.prefix and found.spans == expected.spans
    spec = parse_positions("template:<|assistant|>\n")
    assert resolve(spec, found) == resolve(spec, expected) == [[len(found) - 1]]


def test_only_special_tokens(tokenizer):
    found = prompt_from_ids(tokenizer, [tokenizer.bos_token_id], FINDER)
    assert len(found) == found.prefix == 1 and found.text == "" and not found.spans


def test_slow_tokenizer_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(TokenizerError, match="only fast tokenizers"):
        prompt_from_ids(tokenizer, [0, 5])
