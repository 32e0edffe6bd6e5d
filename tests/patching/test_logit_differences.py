"""Logit differences under full patches, against plain forwards of a small untrained model."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from das.errors import InputError
from das.models.recipes.base import recipe
from das.patching.logit_differences import logit_differences
from das.tasks.ioi import IOI
from das.tasks.ioi_logits import signs_of
from das.tasks.ioi_model import FLIPS
from das.types import Site

N = 16
TASK = IOI(("output_position",), FLIPS)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(recipe("ioi_mini").config()).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return recipe("ioi_mini").tokenizer()


def lead(model, tokenizer, text, pair):
    """Of the base's indirect object before its subject, after a text."""
    with torch.no_grad():
        found = model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1].double()
    own, rival = (found[tokenizer.convert_tokens_to_ids(label.strip())] for label in (pair.base_label, pair.rival))
    return float(own - rival)


def test_a_patch_of_all_that_reaches_the_head_is_the_source_s_run(model, tokenizer):
    rows = logit_differences(model, TASK, [Site(2, positions="last")], n=N, tokenizer=tokenizer, batch_size=5)
    pairs = TASK.pairs("train", N, 0)
    assert [row[:2] for row in rows] == [signs_of(pair) for pair in pairs]
    expected = [lead(model, tokenizer, pair.sources["source"].text, pair) for pair in pairs]
    assert [row[2] for row in rows] == pytest.approx(expected, abs=1e-5)


def test_several_sites_are_patched_together_and_the_base_itself_changes_nothing(model, tokenizer):
    """All heads of a block are what its attention adds: patched in every block at all tokens, two ways."""
    heads = [Site(layer, "head_attention_value_output", "all", heads=(0, 1, 2, 3)) for layer in range(3)]
    whole = [Site(layer, "attention_output", "all") for layer in range(3)]
    one, other, single = (
        logit_differences(model, TASK, sites, n=N, tokenizer=tokenizer) for sites in (heads, whole, heads[:1])
    )
    assert [row[2] for row in one] == pytest.approx([row[2] for row in other], abs=1e-5)
    for (t, p, value), (_, _, alone), pair in zip(one, single, TASK.pairs("train", N, 0), strict=True):
        own = lead(model, tokenizer, pair.base.text, pair)
        assert (value == pytest.approx(own, abs=1e-5)) is (t == p == 1)
        assert (value == pytest.approx(alone, abs=1e-5)) is (t == p == 1)


def test_sources_with_other_names_have_no_place_in_the_linear_model(model, tokenizer):
    with pytest.raises(InputError, match="base's names"):
        logit_differences(model, IOI(kinds=("random",)), [Site(2)], n=4, tokenizer=tokenizer)
