"""The vocabulary: marked prompts, span finders, sites, contrasts."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from das.errors import InputError, PositionError
from das.types import MARK, SOURCE, Contrast, CounterfactualPair, Prompt, Site, SpanFinder

PLAIN = st.text(alphabet="ab ü🙂\n.,", max_size=8)
NAMES = st.text(alphabet="xyé🙂", min_size=1, max_size=4)


def test_from_marked_reads_every_mention():
    prompt = Prompt.from_marked("Hi [[Tim]]! [[Tim]] and [[Al]].")
    assert prompt.text == "Hi Tim! Tim and Al."
    assert [prompt.text[a:b] for a, b in prompt.spans[MARK]] == ["Tim", "Tim", "Al"]
    assert Prompt.from_marked("[[Tim]]", name="name").spans == {"name": ((0, 3),)}


@pytest.mark.parametrize("text", ["no marks", "", "]]", "[x]", "a [b]] c"])
def test_what_is_no_mark_stays_text(text):
    assert Prompt.from_marked(text) == Prompt(text)


@pytest.mark.parametrize("text", ["[[", "]] [[", "[[]]", "[[ ]]", "a [[b", "[[a]] [[b"])
def test_broken_marks_are_refused(text):
    with pytest.raises(PositionError, match="mark in the prompt"):
        Prompt.from_marked(text)


@given(pieces=st.lists(st.tuples(PLAIN, NAMES), max_size=5), end=PLAIN)
def test_marks_and_offsets_agree_for_any_text(pieces, end):
    marked = "".join(f"{plain}[[{name}]]" for plain, name in pieces) + end
    prompt = Prompt.from_marked(marked)
    assert prompt.text == "".join(plain + name for plain, name in pieces) + end
    assert [prompt.text[a:b] for a, b in prompt.spans.get(MARK, ())] == [name for _, name in pieces]


@pytest.mark.parametrize("span", [(-1, 2), (2, 2), (3, 1), (0, 6), (5, 6)])
def test_a_span_outside_its_prompt(span):
    with pytest.raises(PositionError, match=r"span 'name' lies outside its prompt.*of a text of 5"):
        Prompt("abcde", {"name": ((0, 1), span)})
    assert Prompt("abcde", {"name": ((0, 5),)}).text == "abcde"


def found(finder: SpanFinder, text: str) -> list[str]:
    return [text[a:b] for a, b in finder.find(text)]


def test_the_finder_takes_whole_words_only():
    finder = SpanFinder("name", ("Tim", "Al"))
    assert found(finder, "Timmy, Tims, xTim, Tim_ and Altim") == []
    assert found(finder, "Tim's dog (Al) saw Tim.") == ["Tim", "Al", "Tim"]
    assert found(finder, "tim TIM") == [], "case counts"


@given(order=st.permutations(["Mary", "Mary Ann", "Mary Ann Lee", "Ann"]))
def test_the_finder_prefers_the_longest_whatever_the_order(order):
    finder = SpanFinder("name", tuple(order))
    assert found(finder, "Mary Ann Lee met Mary Ann, Mary and Ann") == ["Mary Ann Lee", "Mary Ann", "Mary", "Ann"]


def test_the_finder_takes_words_literally():
    assert found(SpanFinder("x", ("a.c", "(b)", "C++", "é")), "abc a.c (b) C++ é éa") == ["a.c", "(b)", "C++", "é"]
    assert SpanFinder("x", ()).find("anything") == ()


def test_the_finder_round_trips_through_json():
    finder = SpanFinder("name", ("Zoë", "O'Neil", 'a "b"'))
    assert SpanFinder.from_json(json.loads(json.dumps(finder.to_json()))) == finder


SITES = [
    Site(3),
    Site(0, "attention_value_output", "span:name:last", "last"),
    Site(2, "head_attention_value_output", heads=(0, 3)),
    Site(None, "model.layers.3.mlp.down_proj", "f3+l2", side="input"),
]


@pytest.mark.parametrize("site", SITES, ids=str)
def test_a_site_round_trips_through_json(site):
    data = json.loads(json.dumps(site.to_json()))
    assert Site.from_json(data) == site
    assert set(data) == {f.name for f in dataclasses.fields(Site)}, "a new field must be stored too"


def test_a_site_of_an_older_artifact_gets_defaults_and_extra_keys_do_no_harm():
    assert Site.from_json({"layer": 2, "rank": 9}) == Site(2)


def test_read_positions_default_to_the_written_ones():
    assert Site(0, positions="first").read() == Site(0, positions="first")
    assert Site(0, positions="first", source_positions="last").read() == Site(0, positions="last")


def test_every_source_may_be_read_elsewhere():
    site = Site(0, positions="all", source_positions={"a": "first", "b": "last"})
    assert {site: 1}[Site(0, positions="all", source_positions={"b": "last", "a": "first"})] == 1
    assert site.read("a").positions == "first" and site.read("b").positions == "last"
    assert Site.from_json(json.loads(json.dumps(site.to_json()))) == site and "a at first, b at last" in str(site)
    with pytest.raises(PositionError, match=r"does not say where source 'c' is read\. Got source_positions for"):
        site.read("c")


def test_a_site_says_where_it_is():
    assert [str(s) for s in SITES] == [
        "layer 3 block_output @ last",
        "layer 0 attention_value_output @ span:name:last (read at last)",
        "layer 2 head_attention_value_output heads 0,3 @ last",
        "model.layers.3.mlp.down_proj @ f3+l2",
    ]


def test_a_contrast_becomes_both_directions():
    negative, positive = Prompt("a boy"), Prompt("a girl")
    elicit, suppress = Contrast(negative, positive, " he", " she", frozenset({"x"})).pairs()
    assert (elicit.base, elicit.sources[SOURCE]) == (negative, positive)
    assert (elicit.base_label, elicit.counterfactual_label, elicit.target) == (" he", " she", SOURCE)
    assert (suppress.base, suppress.sources[SOURCE]) == (positive, negative)
    assert (suppress.base_label, suppress.counterfactual_label) == (" she", " he")
    assert elicit.changed and suppress.changed and elicit.entities == suppress.entities == {"x"}
    with pytest.raises(AssertionError, match="write the responses first"):
        Contrast(negative, positive, " he").pairs()


def test_changed_compares_labels():
    rng = random.Random(0)
    for _ in range(10):
        one, two = rng.choice("ab"), rng.choice("ab")
        assert CounterfactualPair(Prompt("x"), {}, one, two).changed is (one != two)


def test_a_value_is_relative_to_a_rival():
    """Of a pair without one, nobody could say which logits differ by the value."""
    prompt = Prompt("Ann gave Bob")
    assert CounterfactualPair(prompt, {}, " a", " b", rival=" c", value=1.5).value == 1.5
    with pytest.raises(InputError, match="rival"):
        CounterfactualPair(prompt, {}, " a", " b", value=1.5)
