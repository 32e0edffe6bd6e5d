from __future__ import annotations

import pytest

from das.data.encode import Encoder
from das.data.positions import GRAMMAR, parse_positions, resolve
from das.data.tokenize import EncodedPrompt
from das.errors import PositionError, UnknownChoiceError
from das.types import Prompt

# 8 tokens, of which 2 are the prefix; a name of 2 tokens, then one of 1.
PROMPT = EncodedPrompt(
    ids=tuple(range(8)),
    offsets=((0, 0), (0, 0), (0, 3), (3, 6), (6, 7), (7, 10), (10, 14), (14, 15)),
    prefix=2,
    text="abcdef ghi jkl.",
    spans={"name": [[2, 3], [6]]},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("last", [[7]]),
        ("first", [[2]]),
        ("all", [[2, 3, 4, 5, 6, 7, 8, 9]]),
        ("prompt", [[2, 3, 4, 5, 6, 7]]),
        ("generated", [[8, 9]]),
        ("index:0", [[0]]),
        ("index:3", [[3]]),
        ("index:-1", [[7]]),
        ("index:-8", [[0]]),
        ("f2", [[2, 3]]),
        ("l2", [[6, 7]]),
        ("f1+l2", [[2, 6, 7]]),
        ("f4+l4", [[2, 3, 4, 5, 6, 7]]),
        ("f99", [[2, 3, 4, 5, 6, 7]]),
        ("span:name", [[2, 3], [6]]),
        ("span:name:last", [[3], [6]]),
        ("span:name:first", [[2], [6]]),
        ("from:0", [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]),
        ("from:7", [[7, 8, 9]]),
        ("template:def", [[3]]),
        ("template:ghi jkl", [[6]]),
    ],
)
def test_every_form_resolves(text, expected):
    spec = parse_positions(text)
    assert str(spec) == text
    assert resolve(spec, PROMPT, n_response=2) == expected


def test_template_takes_the_last_occurrence(chat_tokenizer):
    encoded = Encoder(chat_tokenizer, chat=True).encode(Prompt("Write <|assistant|>\n and stop"))
    assert resolve(parse_positions("template:<|assistant|>\n"), encoded) == [[len(encoded) - 1]]
    assert resolve(parse_positions("template:<|user|>\n"), encoded) == [[encoded.prefix - 1]]


@pytest.mark.parametrize(
    ("text", "needs"),
    [(t, True) for t in ("last", "prompt", "generated", "span:n", "span:n:last", "f1", "l2", "index:-1", "template:x")]
    + [(t, False) for t in ("all", "from:3", "index:0", "index:4", "first")],
)
def test_needs_prompt(text, needs):
    assert parse_positions(text).needs_prompt is needs


def test_specs_are_values():
    assert parse_positions("span:a:last") == parse_positions("span:a:last")
    assert len({parse_positions("f1+l2"), parse_positions("f1+l2"), parse_positions("f1+l3")}) == 2


@pytest.mark.parametrize("text", ["lats", "", "f", "f0", "l0", "f1+", "f1l2", "l2+f1", "Last", "everything"])
def test_unknown_forms_list_the_grammar(text):
    with pytest.raises(UnknownChoiceError) as error:
        parse_positions(text)
    assert all(form in str(error.value) for form in GRAMMAR)


def test_near_miss_is_suggested():
    with pytest.raises(UnknownChoiceError, match=r"(?i)did you mean 'last'"):
        parse_positions("lats")


@pytest.mark.parametrize("text", ["index:x", "index:", "span:", "span:a:middle", "from:-1", "from:", "template:"])
def test_malformed_forms_list_the_grammar(text):
    with pytest.raises(PositionError, match=r"malformed position\. Got '.*'\. The grammar is last, first") as error:
        parse_positions(text)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index:8", "'index:8' is out of range"),
        ("index:-9", "'index:-9' is out of range"),
        (
            "span:city",
            r"no span 'city', which 'span:city' refers to.* that it has \(site.positions=span:name\), or mark",
        ),
        ("generated", "one token leaves no response token to edit: positions 'generated' select no token"),
        ("from:8", "'from:8' select no token"),
        ("template:xyz", "does not contain the text of 'template:xyz'"),
    ],
)
def test_errors_name_spec_prompt_and_spans(text, message):
    with pytest.raises(PositionError, match=message) as error:
        resolve(parse_positions(text), PROMPT)
    assert "'abcdef ghi jkl.'" in str(error.value) and "its spans: name" in str(error.value)


def test_mentions_that_share_a_token_are_an_error():
    shared = EncodedPrompt(PROMPT.ids, PROMPT.offsets, 2, PROMPT.text, {"name": [[2, 3], [3, 4]]})
    with pytest.raises(PositionError, match="share a token"):
        resolve(parse_positions("span:name"), shared)


def test_prompt_of_nothing_but_its_prefix():
    empty = EncodedPrompt((0,), ((0, 0),), 1, "", {})
    assert resolve(parse_positions("last"), empty) == [[0]]
    for text in ("first", "prompt", "all", "f1"):
        with pytest.raises(PositionError, match="select no token"):
            resolve(parse_positions(text), empty)
