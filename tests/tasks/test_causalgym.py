"""causalgym and causalgym_mini: the template language, and pairs that differ in the type and in nothing else."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from das.errors import ConfigError, EmptySplitError, UnknownChoiceError
from das.tasks.base import SPLITS
from das.tasks.causalgym import CausalGym, causalgym, part_of
from das.tasks.causalgym_mini import TEMPLATES, causalgym_mini, words
from das.tasks.templates import Gym, Template, read_gym
from das.types import Prompt

SHIPPED = 29


def entry(**changes: object) -> dict[str, object]:
    return {
        "templates": ["The {who}{mark} {v.verb} the {v.what} the"], "label": "who", "result_prepend_space": False,
        "labels": {"one": [" is"], "many": [" are", "."]},
        "variables": {
            "who": {"one": [f"cat{i}" for i in range(20)], "many": [f"cats{i}" for i in range(20)]}, "mark": ["", ","],
            "v.verb": ["saw", "ate", "had"], "v.what": ["stars", "soup", "fun"],
        },
        **changes,
    }  # fmt: skip


def types_of(task: dict, prompt: Prompt) -> list[str]:
    """The types whose fillers a sentence can be read with, by a regular expression of our own."""
    label = task["label"] if isinstance(task["label"], list) else [task["label"]]
    found = []
    for of in task["labels"]:
        for template in task["templates"]:
            pattern = ""
            for i, part in enumerate(re.split(r"{([^}]*)}", template)):
                fillers = task["variables"][part] if i % 2 else [part]
                pattern += "(?:" + "|".join(map(re.escape, fillers[of] if part in label and i % 2 else fillers)) + ")"
            if re.fullmatch(pattern, prompt.text):
                found.append(of)
    return found


def continuations(task: dict, of: str) -> list[str]:
    return [(" " if task["result_prepend_space"] else "") + label for label in task["labels"][of]]


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=8)
@given(split=st.sampled_from(SPLITS), seed=st.integers(0, 10**6), unchanged=st.sampled_from([0.0, 0.5, 1.0]))
def test_labels_are_those_of_the_type_that_the_text_has(name, split, seed, unchanged):
    for pair in (
        causalgym_mini(name, unchanged=unchanged).pairs(split, 4, seed) if unchanged == 0 or name not in SINGLE else ()
    ):
        [of], [there] = (types_of(TEMPLATES[name], prompt) for prompt in (pair.base, pair.sources["source"]))
        assert pair.base_label in continuations(TEMPLATES[name], of)
        assert pair.counterfactual_label in continuations(TEMPLATES[name], there)
        assert pair.changed == (of != there) and pair.target == ("source" if unchanged == 0 else None)
        assert unchanged not in (0.0, 1.0) or pair.changed == (unchanged == 0.0)


#: Their label variable has one filler per type: two sentences of one type are the same sentence.
SINGLE = ("npi_any", "npi_ever", "filler_gap", "cleft")


def test_both_sentences_share_all_but_the_label_variable():
    for name in TEMPLATES:
        label = TEMPLATES[name]["label"]
        for pair in causalgym_mini(name).pairs("test", 10, 0):
            texts = [
                {span: [p.text[a:b] for a, b in at] for span, at in p.spans.items()}
                for p in (pair.base, pair.sources["source"])
            ]
            assert set(texts[0]) == set(texts[1]) >= set(causalgym_mini(name).spans)
            assert [span for span in texts[0] if texts[0][span] != texts[1][span]] == [label]


def test_half_of_the_pairs_are_the_others_exchanged():
    pairs = causalgym_mini("agr_gender").pairs("train", 40, 0)
    found = [(p.base, p.sources["source"], p.base_label, p.counterfactual_label) for p in pairs]
    assert sorted(found, key=str) == sorted(((s, b, y, x) for b, s, x, y in found), key=str)


def test_the_control_task_s_labels():
    for pair in causalgym_mini("agr_gender", control=True).pairs("train", 20, 0):
        girl = types_of(TEMPLATES["agr_gender"], pair.base) == ["girl"]
        assert (pair.base_label, pair.counterfactual_label) == ((" dog", " give") if girl else (" give", " dog"))
    plain, control = (causalgym_mini("agr_gender", c).pairs("train", 20, 0) for c in (False, True))
    assert [(p.base, p.sources) for p in plain] != [] and {p.base.text for p in plain} & {p.base.text for p in control}
    assert causalgym_mini(control=True).labels == (" dog", " give")


def test_no_sentence_is_in_two_splits_whatever_the_seed():
    task = causalgym_mini("agr_gender")
    seen = {split: {p.base.text for seed in range(3) for p in task.pairs(split, 40, seed)} for split in SPLITS}
    assert all(len(found) > 30 for found in seen.values())
    assert not seen["train"] & seen["val"] and not seen["train"] & seen["test"] and not seen["val"] & seen["test"]
    assert {part_of(text) for text in seen["train"]} <= set(range(6))


def test_pieces_and_their_spans():
    template = Template.parse("The {who}{mark} {v.verb} the {v.what} the")
    assert template.variables == ("who", "mark", "v.verb", "v.what")
    text = "The cat saw the soup the"
    prompt = template.fill({"who": "cat", "mark": "", "v.verb": "saw", "v.what": "soup"})
    assert prompt.text == text
    assert {name: text[a:b] for name, [(a, b)] in prompt.spans.items()} == {
        "The": "The", "who": "cat", "v.verb": "saw", "the": "the", "v.what": "soup", "the_2": "the",
    }  # fmt: skip
    inserted = Template.parse("The {who}{mark} ran").fill({"who": "cat", "mark": " who was"})
    assert inserted.text == "The cat who was ran" and inserted.spans["mark"] == ((8, 15),)
    assert Template.parse("{a} {a}").fill({"a": "x"}).spans == {"a": ((0, 1), (2, 3))}
    assert Gym.parse("t", entry()).spans == ("who", "v.verb", "the", "v.what", "the_2"), "a mark may be empty"


def test_dotted_variables_share_their_index():
    gym, rng = Gym.parse("t", entry()), random.Random(0)
    drawn = [gym.shared(gym.templates[0], rng) for _ in range(60)]
    assert {(d["v.verb"], d["v.what"]) for d in drawn} == {("saw", "stars"), ("ate", "soup"), ("had", "fun")}
    assert {(d["v.verb"], d["mark"]) for d in drawn} == {(v, m) for v in ("saw", "ate", "had") for m in ("", ",")}


def test_continuations_have_a_space_where_the_file_says_so():
    assert Gym.parse("t", entry()).labels == {"one": (" is",), "many": (" are", ".")}
    spaced = Gym.parse("t", entry(result_prepend_space=True, labels={"one": ["is"], "many": ["are"]}))
    assert spaced.labels == {"one": (" is",), "many": (" are",)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"one": [" is"]}}, "two types"),
        ({"templates": ["The {who} {whom}"]}, "'whom' cannot be filled"),
        ({"templates": ["The {v.verb}"]}, "lacks a label variable"),
        ({"label": "v.verb"}, "cannot be filled"),
        ({"labels": {"one": [" is"], "lots": [" are"]}}, "types of 'who' differ"),
        ({"variables": {**entry()["variables"], "v.what": ["stars"]}}, "not as long as its group"),  # type: ignore[dict-item]
    ],
)
def test_entries_that_do_not_hold_together_are_errors(changes, message):
    with pytest.raises(ConfigError, match=message):
        Gym.parse("t", entry(**changes))


def test_files_and_arguments_that_do_not_fit_are_typed_errors(tmp_path):
    file = tmp_path / "gym.json"
    for text, message in (("{", "no templates"), ("[]", "no JSON object"), ('{"t": {"templates": []}}', "incomplete")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_gym(str(file), "t")
    file.write_text(json.dumps({"t": entry()}))
    assert causalgym(str(file), "t").name == "t"
    with pytest.raises(UnknownChoiceError, match=r"gym\.json"):
        causalgym(str(file), "u")
    with pytest.raises(UnknownChoiceError, match="agr_gender"):
        causalgym_mini("agr")
    with pytest.raises(ConfigError, match="share"):
        causalgym_mini(unchanged=2.0)
    three = entry(labels={"one": ["."], "many": ["."], "no": ["."]})
    three["variables"]["who"]["no"] = ["none"]  # type: ignore[index]
    with pytest.raises(ConfigError, match="two types"):
        CausalGym(Gym.parse("t", three), "t", control=True)


def test_a_type_with_one_sentence_has_no_second_one():
    gym = Gym.parse("t", {**entry(), "templates": ["{who}"], "variables": {"who": {"one": ["x"], "many": ["y"]}}})
    with pytest.raises(EmptySplitError, match="one type"):
        CausalGym(gym, "t", unchanged=1.0).pairs("train", 2, 0)


def test_every_word_of_the_mini_tasks_is_known():
    known = set(words())
    for name in TEMPLATES:
        for control in (False, True):
            for pair in causalgym_mini(name, control).pairs("train", 10, 0):
                assert set(re.findall(r"\w+|[^\w\s]+", pair.base.text + pair.base_label)) <= known


def test_all_tasks_of_causalgym_parse_align_and_sample(shared_path):
    path = shared_path("data/causalgym/templates/syntaxgym.json")
    tasks = json.loads(path.read_text())
    assert len(tasks) == SHIPPED
    for name, task in tasks.items():
        made, seen = causalgym(str(path), name), {}
        assert made.spans and made.labels == tuple(
            dict.fromkeys(c for of in task["labels"] for c in continuations(task, of))
        )
        for split in SPLITS:
            pairs = made.pairs(split, 6, 0)
            seen[split] = {p.base.text for p in pairs}
            for pair in pairs:
                source = pair.sources["source"]
                assert set(made.spans) <= set(pair.base.spans) and set(pair.base.spans) == set(source.spans)
                assert "{" not in pair.base.text and pair.base != source
                assert any(pair.base_label in continuations(task, of) for of in readings(task, pair.base)), name
                assert any(pair.counterfactual_label in continuations(task, of) for of in readings(task, source)), name
        assert not seen["train"] & seen["val"] and not seen["train"] & seen["test"] and not seen["val"] & seen["test"]


def readings(task: dict, prompt: Prompt) -> list[str]:
    found = types_of(task, prompt)
    assert found, f"{prompt.text!r} is no sentence of the template"
    return found
