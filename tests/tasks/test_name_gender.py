import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest

from das.errors import ConfigError, EmptySplitError, UnknownChoiceError
from das.tasks.base import SPLITS, Task
from das.tasks.name_gender import CAUSAL_MODEL, TEMPLATE, NameGender
from das.tasks.names import BOYS, GIRLS
from das.types import SOURCE

TASK = NameGender()
SAMPLERS = [TASK.pairs, TASK.contrasts, TASK.prompts]


def name_of(prompt):
    (start, end), _ = prompt.spans["name"]
    return prompt.text[start:end]


def test_it_is_a_task():
    assert isinstance(TASK, Task)
    assert TASK.labels == (TASK.positive, TASK.negative) == (" she", " he")
    assert set(TASK.concept_words) == {"positive", "negative"}


def test_importing_and_sampling_needs_no_torch():
    code = (
        "import sys, das.tasks.name_gender as t; t.NameGender().pairs('train', 4, 0);"
        "assert not {'torch', 'transformers', 'hydra'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_unique_and_of_one_gender():
    assert len(set(GIRLS + BOYS)) == len(GIRLS) + len(BOYS) == 84


def test_splits_share_no_name_and_are_balanced():
    for a, b in combinations(SPLITS, 2):
        assert not TASK.entities(a) & TASK.entities(b)
    for split, size in zip(SPLITS, (24, 8, 10), strict=True):
        assert [len(TASK.entities(split) & set(pool)) for pool in (GIRLS, BOYS)] == [size, size]
    assert NameGender().entities("test") == TASK.entities("test")


@pytest.mark.parametrize("sample", SAMPLERS, ids=lambda s: s.__name__)
def test_sampling_is_deterministic_and_streams_differ(sample):
    assert sample("train", 20, 3) == sample("train", 20, 3)
    assert sample("train", 20, 3) != sample("train", 20, 4)
    assert sample("train", 20, 3) != sample("test", 20, 3)
    assert sample("train", 0, 0) == []


@pytest.mark.parametrize("sample", SAMPLERS, ids=lambda s: s.__name__)
def test_unknown_splits_are_refused(sample):
    with pytest.raises(UnknownChoiceError, match=r"unknown split of name_gender.*Did you mean 'train'"):
        sample("trian", 1, 0)


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_are_balanced_and_agree_with_the_causal_model(split):
    pairs = TASK.pairs(split, 80, 0)
    assert Counter((p.changed, p.base_label) for p in pairs) == Counter(
        {(changed, label): 20 for changed in (True, False) for label in TASK.labels}
    )
    for pair in pairs:
        base, source = name_of(pair.base), name_of(pair.sources[SOURCE])
        assert base != source
        assert pair.entities == {base, source} <= TASK.entities(split)
        assert pair.base_label == (" she" if base in GIRLS else " he")
        expected = CAUSAL_MODEL.interchange({"name": base}, {"gender": {"name": source}})["pronoun"]
        assert pair.counterfactual_label == expected == (" she" if source in GIRLS else " he")
        assert pair.target == SOURCE


def test_odd_counts_are_balanced_to_within_one():
    for n in (1, 5, 7):
        changed = [p.changed for p in TASK.pairs("train", n, 0)]
        assert len(changed) == n and abs(2 * sum(changed) - n) == 1


def test_spans_are_both_mentions_exactly_and_the_finder_finds_them():
    prompts = [p for pair in TASK.pairs("test", 40, 1) for p in (pair.base, pair.sources[SOURCE])]
    for prompt in prompts:
        name = name_of(prompt)
        assert [prompt.text[a:b] for a, b in prompt.spans["name"]] == [name, name]
        assert prompt.text.count(name) == 2
        assert TASK.finder.find(prompt.text) == prompt.spans["name"]
        assert prompt.text in {TEMPLATE.format(adj=adj, name=name) for adj in TASK.adjectives}


def test_contrasts_differ_only_in_a_name_of_the_other_gender():
    for contrast in TASK.contrasts("val", 30, 0):
        boy, girl = name_of(contrast.negative), name_of(contrast.positive)
        assert boy in BOYS and girl in GIRLS and contrast.entities == {boy, girl} <= TASK.entities("val")
        assert contrast.negative.text.replace(boy, girl) == contrast.positive.text
        assert contrast.negative_response is contrast.positive_response is None


def test_prompts_are_balanced_and_labelled():
    prompts = TASK.prompts("test", 40, 0)
    assert Counter(label for _, label in prompts) == {" she": 20, " he": 20}
    assert all((name_of(p) in GIRLS) == (label == " she") for p, label in prompts)


def test_a_split_without_names_is_a_clear_error():
    task = NameGender(names_per_split={"train": 30})
    for call in (lambda: task.pairs("test", 1, 0), lambda: task.entities("val")):
        with pytest.raises(EmptySplitError, match=r"too few girls|too few boys"):
            call()


def test_a_split_too_small_for_unchanged_pairs_is_a_clear_error():
    task = NameGender(names_per_split={"train": 1})
    assert task.prompts("train", 4, 0)
    with pytest.raises(EmptySplitError, match="needs 2"):
        task.pairs("train", 4, 0)


def test_impossible_arguments_are_refused():
    with pytest.raises(ConfigError, match="at least one adjective"):
        NameGender(adjectives=())
    with pytest.raises(ConfigError, match="at most 42"):
        NameGender(names_per_split={"train": 30, "test": 20})
    with pytest.raises(UnknownChoiceError, match="'dev'"):
        NameGender(names_per_split={"dev": 3})
