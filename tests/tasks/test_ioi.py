"""ioi: labels are what reading the text again says, flips are what MIB calls them, its linear model is recovered."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from das.errors import ConfigError, EmptySplitError, InputError, UnknownChoiceError
from das.tasks.base import Floored
from das.tasks.ioi import IOI, KINDS
from das.tasks.ioi_logits import GPT2, LogitDifference, fitted, signs, signs_of
from das.tasks.ioi_model import FLIPS, VARIABLES, flipped
from das.tasks.ioi_words import FIELDS, NAMES, Words
from das.types import Prompt

MIB = Path("/work/shared/data/mib/ioi")


def read(prompt: Prompt) -> tuple[str, str, str]:
    """The three names, as the spans say."""
    a, b, c = (prompt.text[slice(*prompt.spans[name][0])] for name in FIELDS[:3])
    return a, b, c


def given_to(a: str, b: str, c: str) -> str:
    return b if c == a else a


@pytest.mark.parametrize("variable", VARIABLES)
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), split=st.sampled_from(["train", "val", "test"]), kind=st.sampled_from(KINDS))
def test_labels_are_those_of_a_second_reading(variable, seed, split, kind):
    task = IOI((variable,), (kind,))
    for pair in task.pairs(split, 4, seed):
        base, source = read(pair.base), read(pair.sources["source"])
        assert len(set(base)) == len(set(source)) == 2 and base[2] in base[:2]
        assert pair.base_label == f" {given_to(*base)}"
        token = given_to(*source)
        expected = token if variable == "output_token" else base[source.index(token)]
        assert pair.counterfactual_label == f" {expected}"
        moved, renamed = base[:2] != source[:2], base[2] != source[2]
        if kind == "random":
            assert not set(base) & set(source)
        else:
            assert (moved, renamed) == ("s1_io" in kind, "s2_io" in kind) and set(base) == set(source)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("kinds", [KINDS, *((kind,) for kind in KINDS)])
def test_floors_are_what_copying_scores(variable, kinds):
    task = IOI((variable,), kinds)
    assert isinstance(task, Floored)
    pairs = task.pairs("train", 160, 0)
    for who, floor in task.floors.items():
        answers = [f" {given_to(*read(pair.base if who == 'base' else pair.sources[who]))}" for pair in pairs]
        right = sum(a == pair.counterfactual_label for a, pair in zip(answers, pairs, strict=True))
        assert right / len(pairs) == floor


def test_names_are_99_and_a_prompt_mentions_them_where_its_spans_say():
    assert len(set(NAMES)) == 99 and all(name.isalpha() for name in NAMES)
    [pair] = IOI().pairs("test", 1, 0)
    assert not {name for name in NAMES if name in read(pair.base)} - IOI().entities("test")


def test_the_linear_model_of_mib():
    base = {"name_A": "Tim", "name_B": "Lily", "name_C": "Tim"}
    expected = {"same": (1, 1), "s1_io_flip": (1, -1), "s2_io_flip": (-1, -1), "s1_io_flip_s2_io_flip": (-1, 1)}
    assert {kind: signs(base, flipped(base, kind)) for kind in FLIPS} == expected
    assert signs(base, flipped(base, "s2_io_flip"), ["output_token"]) == (-1, 1)
    assert GPT2(1, 1) == pytest.approx(3.16) and GPT2(-1, -1) == pytest.approx(-2.57)
    with pytest.raises(InputError, match="Sam"):
        signs(base, {"name_A": "Sam", "name_B": "Lily", "name_C": "Lily"})


@pytest.mark.parametrize("variable", VARIABLES)
def test_coefficients_give_every_pair_the_logit_difference_of_its_interchange(variable):
    pairs = IOI((variable,), FLIPS, coefficients=(0.295, 0.63, 2.235)).pairs("train", 32, 0)
    for pair in pairs:
        assert pair.rival == f" {read(pair.base)[2]}" and pair.rival != pair.base_label
        assert pair.value == GPT2(*signs_of(pair, [variable]))
    assert {signs_of(pair) for pair in pairs} == {(1, 1), (1, -1), (-1, -1), (-1, 1)}
    assert {pair.value for pair in IOI((variable,)).pairs("train", 8, 0)} == {None}


@given(st.tuples(*[st.floats(-5, 5)] * 3), st.integers(0, 100))
def test_least_squares_recover_the_coefficients(coefficients, seed):
    true, rng = LogitDifference(*coefficients), random.Random(seed)
    cells = [(1, 1), (1, -1), (-1, -1), *((t, p) for t in (1, -1) for p in (1, -1) if rng.random() < 0.7)]
    found = fitted((t, p, true(t, p)) for t, p in cells)
    assert (found.constant, found.token, found.position) == pytest.approx(coefficients, abs=1e-9)
    assert found.error([(t, p, true(t, p) + 2.0) for t, p in cells]) == pytest.approx(4.0)


def test_what_cannot_be_fitted_is_a_typed_error():
    with pytest.raises(InputError, match="apart"):
        fitted([(1, 1, 2.0), (-1, -1, -1.0)])
    with pytest.raises(InputError, match="nothing"):
        GPT2.error([])


def folder(tmp_path, **changes):
    lists = {
        "names": ["Al", "Bo", "Cy", "Di"], "objects": ["ring", "apple"], "places": ["inn"],
        "templates": [f"{{name_A}} met {{name_B}}. {{name_C}} gave {a} {{object}} to" for a in ("a", "an")],
    }  # fmt: skip
    for name, content in {**lists, **changes}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return str(tmp_path)


def test_words_of_a_folder(tmp_path):
    task = IOI(path=folder(tmp_path), names_per_split={"train": 4})
    assert task.labels == (" Al", " Bo", " Cy", " Di")
    told = {pair.base.text.partition("gave ")[2] for pair in task.pairs("train", 40, 0)}
    assert told == {"a ring to", "an apple to"}, "articles fit"
    with pytest.raises(EmptySplitError):
        task.pairs("test", 1, 0)


@pytest.mark.parametrize(
    "changes",
    [{"names": {"a": 1}}, {"templates": ["{name_A} and {name_B} and"]}, {"objects": []}, {"names": ["Al", "Al"]}],
)
def test_folders_that_do_not_fit_are_typed_errors(tmp_path, changes):
    with pytest.raises(ConfigError):
        Words.read(folder(tmp_path, **changes))
    with pytest.raises(ConfigError, match=r"names\.json"):
        Words.read(str(tmp_path / "absent"))


@pytest.mark.skipif(not MIB.is_dir(), reason="MIB's files are not part of this repository")
def test_mib_s_own_files():
    task = IOI(path=str(MIB))
    assert len(task.labels) == 99 and task.pairs("test", 8, 0)


def test_arguments_that_do_not_fit_are_typed_errors():
    with pytest.raises(ConfigError, match="output_token or output_position"):
        IOI(VARIABLES)
    with pytest.raises(UnknownChoiceError, match="s2_io_flip"):
        IOI(kinds=("s3",))
    with pytest.raises(ConfigError, match="names"):
        IOI(names_per_split={"train": 90, "test": 10})
    with pytest.raises(ConfigError, match="three coefficients"):
        IOI(kinds=FLIPS, coefficients=(1.0, 2.0))
    with pytest.raises(ConfigError, match="random"):
        IOI(coefficients=(1.0, 2.0, 3.0))
    with pytest.raises(UnknownChoiceError, match="flip"):
        flipped({"name_A": "a", "name_B": "b", "name_C": "a"}, "random")
