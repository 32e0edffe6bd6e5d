"""hierarchical_equality and price_tagging: labels are what plain arithmetic on the text says, floors are as stated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from das.errors import ConfigError, UnknownChoiceError
from das.tasks.base import ContrastTask, Floored
from das.tasks.hierarchical_equality import HierarchicalEquality
from das.tasks.price_tagging import PriceTagging
from das.types import CounterfactualPair, Prompt

MINI = {"grid": "mini", "template": "{lower} {upper} {amount} =", "labels": (" Yes", " No")}
EQUALITY = [("WX",), ("YZ",), ("WX", "YZ")]
PRICES = [("left",), ("right",), ("left", "right"), ("right", "left"), ("middle",), ("bracket",)]

TASKS: dict[str, Callable[[], HierarchicalEquality | PriceTagging]] = {
    **{f"equality-{'-'.join(v)}": lambda v=v: HierarchicalEquality(v) for v in EQUALITY},
    **{f"mini-{'-'.join(v)}": lambda v=v: PriceTagging(v, **MINI) for v in PRICES},
    **{f"cents-{'-'.join(v)}": lambda v=v: PriceTagging(v) for v in PRICES},
}


def words(prompt: Prompt) -> dict[str, str]:
    """The text of every span."""
    return {name: prompt.text[a:b] for name, [(a, b)] in prompt.spans.items()}


def variables(prompt: Prompt) -> dict[str, object]:
    """What the causal models compute from a prompt, by arithmetic of our own."""
    read = words(prompt)
    if "W" in read:
        return {"WX": read["W"] == read["X"], "YZ": read["Y"] == read["Z"]}
    low, high, amount = (round(100 * float(read[name])) for name in ("lower", "upper", "amount"))
    inside = {"left": not amount < low, "right": not amount > high}
    return {**inside, "middle": low + high, "bracket": (low, high), "amount": amount, "width": high - low}


def answer(values: dict[str, object], changed: tuple[str, ...]) -> bool:
    """The answer that follows from variables, under the hypothesis that `changed` belongs to."""
    if "WX" in values:
        return values["WX"] == values["YZ"]
    if changed == ("middle",):
        return abs(2 * values["amount"] - values["middle"]) <= values["width"]
    if changed == ("bracket",):
        low, high = values["bracket"]
        return low <= values["amount"] <= high
    return values["left"] and values["right"]


def expected(task: HierarchicalEquality | PriceTagging, pair: CounterfactualPair) -> tuple[str, str]:
    """Label and counterfactual label."""
    values = variables(pair.base)
    names = ("source",) if len(task.variables) == 1 else ("first", "second")
    forced = {v: variables(pair.sources[s])[v] for v, s in zip(task.variables, names, strict=True)}
    chosen = (values, values | forced)
    return tuple(task.labels[0 if answer(v, task.variables) else 1] for v in chosen)  # type: ignore[return-value]


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), split=st.sampled_from(["train", "val", "test"]))
def test_labels_are_those_of_a_second_opinion(name, seed, split):
    task = TASKS[name]()
    for pair in task.pairs(split, 3, seed):
        assert (pair.base_label, pair.counterfactual_label) == expected(task, pair)
        assert pair.base not in pair.sources.values() or len(pair.sources) == 2


@pytest.mark.parametrize("name", TASKS)
def test_floors_are_what_copying_scores(name):
    task, n = TASKS[name](), 384 if name.startswith("equality") else 360  # every cell and combination equally often
    assert isinstance(task, Floored)
    pairs, label = task.pairs("train", n, 0), {True: task.labels[0], False: task.labels[1]}
    for who, floor in task.floors.items():
        prompts = [pair.base if who == "base" else pair.sources[who] for pair in pairs]
        right = [
            label[answer(variables(p), task.variables)] == pair.counterfactual_label
            for p, pair in zip(prompts, pairs, strict=True)
        ]
        assert sum(right) / n == pytest.approx(floor)
    share = sum(pair.counterfactual_label == task.labels[0] for pair in pairs) / n
    assert share == 0.5


def test_price_tagging_starts_at_0_65_for_one_boundary():
    assert PriceTagging(("left",)).floors == pytest.approx({"base": 0.65, "source": 0.65})
    assert PriceTagging(("right",)).floors == pytest.approx({"base": 0.65, "source": 0.65})
    assert PriceTagging(("left", "right")).floors == pytest.approx({"base": 0.6, "first": 0.65, "second": 0.65})
    assert PriceTagging(("bracket",)).floors == {"base": 0.5, "source": 0.5}


@pytest.mark.parametrize("name", TASKS)
def test_interchanges_of_each_variable_alone_and_of_all(name):
    task = TASKS[name]()
    alone = [tuple(prompt == pair.base for prompt in pair.sources.values()) for pair in task.pairs("test", 60, 0)]
    assert set(alone) == ({(False, True), (True, False), (False, False)} if len(task.variables) == 2 else {(False,)})


@pytest.mark.parametrize("name", TASKS)
def test_a_contrast_s_own_answers_are_its_counterfactual_ones(name):
    task = TASKS[name]()
    assert isinstance(task, ContrastTask)
    variable = task.variables[0]
    for contrast in task.contrasts("val", 20, 0):
        without, having = variables(contrast.negative), variables(contrast.positive)
        labels = [task.labels[0 if answer(v, task.variables) else 1] for v in (without, having)]
        assert labels == [contrast.negative_response, contrast.positive_response] and labels[0] != labels[1]
        assert answer(without | {variable: having[variable]}, task.variables) == (labels[1] == task.labels[0])
        assert answer(having | {variable: without[variable]}, task.variables) == (labels[0] == task.labels[0])


def test_prices_are_as_in_the_paper():
    for pair in PriceTagging().pairs("train", 200, 0):
        low, high, amount = (float(words(pair.base)[name]) for name in ("lower", "upper", "amount"))
        assert low >= 0.05 and high <= 9.95 and 0.01 <= amount <= 9.99 and 2.495 <= high - low <= 7.505
        assert all(len(word.partition(".")[2]) == 2 for word in words(pair.base).values())
    assert PriceTagging().pairs("train", 1, 0)[0].base.text.startswith("Below is an instruction that describes a task")


def test_all_splits_reach_over_the_whole_range():
    task = PriceTagging(**MINI)
    lowers = {split: sorted(map(int, task.entities(split))) for split in ("train", "val", "test")}
    assert sorted(n for found in lowers.values() for n in found) == list(range(1, 25))
    assert all(max(b - a for a, b in pairwise(found)) <= 5 for found in lowers.values())


def test_arguments_that_do_not_fit_are_typed_errors():
    with pytest.raises(UnknownChoiceError, match="cents, mini"):
        PriceTagging(grid="euros")
    with pytest.raises(ConfigError, match="left, right or middle or bracket"):
        PriceTagging(("left", "middle"))
    with pytest.raises(UnknownChoiceError, match="WX, YZ"):
        HierarchicalEquality(("XY",))
    with pytest.raises(ConfigError, match="as many objects"):
        HierarchicalEquality(objects=("a", "b"), objects_per_split={"train": 2, "test": 2})
    with pytest.raises(ConfigError, match=r"\{W\}, \{X\}"):
        HierarchicalEquality(template="{W} {X}")
