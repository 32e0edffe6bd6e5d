"""What every task promises, checked for every yaml in conf/task."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.data.placing import Where
from das.errors import UnknownChoiceError
from das.tasks.base import SPLITS, ConceptTask, ContrastTask, Task
from tests.contracts.groups import made, names
from tests.contracts.written import settings

TASKS = names("task")
N = 40
#: Options off their defaults, of tasks whose pairs depend on them.
CHANGED = [
    *((task, {"unchanged": share}) for task in ("causalgym", "causalgym_mini") for share in (0.0, 0.25, 1.0)),
    ("causalgym_mini", {"control": True}),
    ("child_facts", {"targets": [" red"]}),
    ("hierarchical_equality", {"variables": ["WX", "YZ"]}),
    ("ioi", {"kinds": ["s1_io_flip", "s2_io_flip"], "coefficients": [0.3, 0.6, 2.2]}),
    ("ioi", {"variables": ["output_position"]}),
    ("mcqa", {"variables": ["answer"]}),
    ("price_tagging", {"variables": ["left", "right"]}),
    ("price_tagging_mini", {"variables": ["bracket"]}),
    ("ravel_mini", {"variables": ["Country", "Continent"], "variant": "mib", "setting": "context"}),
    ("two_digit_addition", {"variables": ["tens"], "padded": True}),
]


def build(name: str, **changes: Any) -> Task:
    task = made("task", name, **{**settings(name), **changes})
    assert isinstance(task, Task)
    return task


@pytest.mark.parametrize("name", TASKS)
def test_deterministic_per_split_and_seed(name):
    one, two = build(name), build(name)
    for split in SPLITS:
        assert one.pairs(split, N, 0) == two.pairs(split, N, 0) != one.pairs(split, N, 1)


@pytest.mark.parametrize("name", TASKS)
def test_splits_share_no_entity(name):
    task = build(name)
    found = {split: task.entities(split) for split in SPLITS}
    for split in SPLITS:
        for other in set(SPLITS) - {split}:
            assert found[split].isdisjoint(found[other])
        used = frozenset().union(*(pair.entities for pair in task.pairs(split, N, 0)))
        assert used and used <= found[split], "pairs use the entities of their split"


@pytest.mark.parametrize("name", TASKS)
def test_pairs_are_what_the_type_says(name):
    task = build(name)
    for pair in (p for split in SPLITS for p in task.pairs(split, N, 0)):
        assert pair.sources and (pair.target is None or pair.target in pair.sources)
        assert any(source != pair.base for source in pair.sources.values()), "a source that is the base does nothing"
        if task.labels is not None:
            assert {pair.base_label, pair.counterfactual_label} <= set(task.labels)
        for prompt in (pair.base, *pair.sources.values()):
            for mentions in prompt.spans.values():
                assert mentions == tuple(sorted(mentions)) and all(prompt.text[a:b].strip() for a, b in mentions)
    changed = [p.changed for p in task.pairs("test", N, 0)]
    assert any(changed) and not all(changed), "both kinds are needed to tell an edit from a no-op"


@pytest.fixture(scope="module")
def encoder():
    """Bytes: every text has tokens, and every label of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Encoder(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


@pytest.mark.parametrize(("name", "changes"), [*((name, {}) for name in TASKS), *CHANGED])
def test_pairs_of_a_split_fit_one_dataset(name, changes, encoder):
    task = build(name, **changes)
    for split in SPLITS:
        pairs = task.pairs(split, N, 0)
        data = PairDataset(pairs, encoder, [Where("last", dict.fromkeys(pairs[0].sources, "last"))])
        assert len(data) == len(pairs) > 0


@pytest.mark.parametrize("name", TASKS)
def test_an_unknown_split_is_a_typed_error(name):
    with pytest.raises(UnknownChoiceError, match="train"):
        build(name).pairs("tset", 4, 0)


@pytest.mark.parametrize("name", TASKS)
def test_concepts_have_two_values_and_prompts_of_both(name):
    task = build(name)
    if isinstance(task, ConceptTask):
        labels = {label for _, label in task.prompts("train", N, 0)}
        assert labels == {task.positive, task.negative} and task.positive != task.negative
        assert set(task.concept_words) in ({"positive", "negative"}, set())
    if isinstance(task, ContrastTask):
        for contrast in task.contrasts("train", 8, 0):
            assert contrast.negative != contrast.positive and contrast.entities <= task.entities("train")
