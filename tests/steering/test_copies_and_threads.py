"""A steered model that is copied, used by several threads, or given rows other than those that were bound."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest
import torch

from das.errors import InputError
from das.steering.steer import steer
from tests.families import tiny_ids


def continued(model, ids):
    return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)


@pytest.mark.parametrize("name", ["llama-gqa", "gpt2"])
def test_a_copy_of_a_steered_model_is_an_unsteered_model_of_its_own(name, family, make_subspace):
    model, ids = family(name), tiny_ids()
    plain, text = model(ids).logits, continued(model, ids)
    with steer(model, make_subspace(model, "all", level=30.0), 1.0):
        copied = deepcopy(model)
        assert torch.equal(copied(ids).logits, plain) and torch.equal(continued(copied, ids), text)
        assert not torch.equal(model(ids).logits, plain)
    assert torch.equal(model(ids).logits, plain)
    with torch.no_grad():
        copied.get_output_embeddings().weight.zero_()
    assert not copied(ids).logits.any()
    assert torch.equal(continued(copied, ids)[:, ids.shape[1] :], torch.zeros(2, 4, dtype=torch.long))
    assert torch.equal(continued(model, ids), text)


def test_threads_generate_one_after_the_other(family, make_subspace):
    model, ids = family("llama-gqa"), tiny_ids()
    with steer(model, make_subspace(model, "prompt"), 1.0):
        want = continued(model, ids)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: continued(model, ids), range(8)))
    assert all(torch.equal(one, want) for one in found)


@pytest.mark.parametrize("factor", [True, [True, False], torch.tensor(True), 1e30, float("inf")])
def test_factors_that_are_none(factor, family, make_subspace):
    model = family("llama-gqa")
    with pytest.raises(InputError, match="steering factor"):
        steer(model, make_subspace(model), factor)
    with pytest.raises(InputError, match="value must"):
        steer(model, make_subspace(model, rank=1), value=True)
