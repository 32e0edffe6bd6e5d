"""mcqa and two_digit_addition: labels are what reading the text again says, sources are what they are called."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from das.errors import ConfigError, EmptySplitError, UnknownChoiceError
from das.tasks import mcqa, two_digit_addition
from das.tasks.mcqa import MCQA
from das.tasks.two_digit_addition import TwoDigitAddition
from das.types import Prompt

MIB = Path("/work/shared/data/mib/mcqa/object_color_pairs.json")
SEEDS, SPLITS = st.integers(0, 10**6), st.sampled_from(["train", "val", "test"])


def question(prompt: Prompt) -> tuple[str, list[str], list[str]]:
    """Object, symbols and choices, with the right choice marked: read off the text alone."""
    thing, color = re.search(r"The (.+) is (.+)\. What", prompt.text).groups()
    found = re.findall(r"^([A-Z])\. (.+)$", prompt.text, re.MULTILINE)
    return thing, [s for s, _ in found], [c.upper() if c == color else c for _, c in found]


def pointer(choices: list[str]) -> int:
    [right] = [i for i, c in enumerate(choices) if c.isupper()]
    return right


@pytest.mark.parametrize("variable", mcqa.VARIABLES)
@settings(max_examples=20)
@given(seed=SEEDS, split=SPLITS, kind=st.sampled_from(mcqa.KINDS))
def test_answers_are_those_of_a_second_reading(variable, seed, split, kind):
    for pair in MCQA((variable,), (kind,)).pairs(split, 4, seed):
        (thing, symbols, choices), (other, letters, options) = map(question, (pair.base, pair.sources["source"]))
        at, there = pointer(choices), pointer(options)
        assert len(set(symbols)) == len(set(choices)) == len(set(letters)) == len(set(options)) == 4
        assert pair.base_label == f" {symbols[at]}"
        assert pair.counterfactual_label == f" {letters[there] if variable == 'answer' else symbols[there]}"
        if kind == "random":
            assert thing != other
            continue
        moved = [i for i in range(4) if choices[i] != options[i]]
        assert thing == other and sorted(choices) == sorted(options)
        assert moved == (sorted((at, there)) if "Position" in kind else []) and (at != there) == ("Position" in kind)
        assert set(symbols).isdisjoint(letters) if "Letter" in kind else symbols == letters


def test_the_positions_of_mib_are_spans():
    for pair in MCQA().pairs("test", 12, 0):
        [(start, end)], [(dot, after)] = (pair.base.spans[f"correct_symbol{p}"] for p in ("", "_period"))
        assert f" {pair.base.text[start:end]}" == pair.base_label and pair.base.text[dot:after] == "." and dot == end


def test_colours_of_a_file(tmp_path):
    file, colors = tmp_path / "colors.json", ("red", "blue", "green", "white")
    file.write_text(json.dumps([{"object": f"thing{i}", "color": colors[i % 4]} for i in range(8)]))
    task = MCQA(path=str(file))
    assert {len(task.entities(s)) for s in ("train", "val", "test")} == {4, 2}
    assert all("thing" in pair.base.text for pair in task.pairs("train", 8, 0))
    file.write_text(json.dumps([{"object": "a", "color": "red"}]))
    with pytest.raises(EmptySplitError, match="colours"):
        MCQA(path=str(file))
    file.write_text('["a"]')
    with pytest.raises(ConfigError, match="object"):
        MCQA(path=str(file))


@pytest.mark.skipif(not MIB.is_file(), reason="MIB's files are not part of this repository")
def test_mib_s_own_colours():
    task = MCQA(path=str(MIB))
    assert sum(len(task.entities(s)) for s in ("train", "val", "test")) >= 170 and task.pairs("test", 8, 0)


@pytest.mark.parametrize("variable", two_digit_addition.VARIABLES)
@settings(max_examples=20)
@given(seed=SEEDS, split=SPLITS, kind=st.sampled_from(two_digit_addition.KINDS))
def test_sums_are_those_of_arithmetic(variable, seed, split, kind):
    for pair in TwoDigitAddition((variable,), (kind,)).pairs(split, 4, seed):
        (a, b), (c, d) = (map(int, re.findall(r"\d\d", p.text)) for p in (pair.base, pair.sources["source"]))
        assert pair.base_label == f" {a + b}" and (a, b) != (c, d)
        carry, other = (x % 10 + y % 10 >= 10 for x, y in ((a, b), (c, d)))
        wanted = a + b + {
            "ones_carry": 10 * (other - carry),
            "ones": (c + d) % 10 - (a + b) % 10,
            "tens": 10 * ((c + d) // 10 % 10 - (a + b) // 10 % 10),
            "hundreds": 100 * ((c + d) // 100 - (a + b) // 100),
        }[variable]  # fmt: skip
        assert pair.counterfactual_label == f" {wanted}"
        if kind == "ones_carry":
            assert (a // 10, b // 10) == (c // 10, d // 10) and (a + b) % 10 == (c + d) % 10 and carry != other


def test_kinds_and_carries_are_balanced():
    pairs = TwoDigitAddition().pairs("train", 80, 0)
    operands = [[int(n) for n in re.findall(r"\d\d", pair.base.text)] for pair in pairs]
    assert sum(a % 10 + b % 10 > 9 for a, b in operands) == 40
    assert sum(pair.changed for pair in pairs) >= 40, "every source of kind ones_carry changes the carry"
    pointers = [pointer(question(pair.base)[2]) for pair in MCQA().pairs("train", 64, 0)]
    assert [pointers.count(i) for i in range(4)] == [16] * 4


def test_answers_of_three_digits():
    pair = TwoDigitAddition(padded=True).pairs("test", 1, 0)[0]
    assert all(len(label) == 4 for label in (pair.base_label, pair.counterfactual_label))


def test_arguments_that_do_not_fit_are_typed_errors():
    for task in (MCQA, TwoDigitAddition):
        with pytest.raises(UnknownChoiceError, match="random"):
            task(kinds=("rondom",))
        with pytest.raises(ConfigError, match="at least one kind"):
            task(kinds=())
        with pytest.raises(UnknownChoiceError, match="variable"):
            task(("carry",))
    with pytest.raises(ConfigError, match="81"):
        TwoDigitAddition(tens_per_split={"train": 80, "test": 2})
    with pytest.raises(ConfigError, match="shares"):
        MCQA(shares={"train": 0.9, "test": 0.2})
    with pytest.raises(ConfigError, match=r"\{op1\}"):
        TwoDigitAddition(template="{op1} =")
