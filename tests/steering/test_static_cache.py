"""A static cache keeps its length on the device, so nobody knows in Python that only generated tokens are left."""

from __future__ import annotations

import torch

from das.edits.affine import Affine
from das.featurizers.rotation import Rotation
from das.gates.token_gate import TokenGate
from das.interventions.base import Intervention
from das.steering.steer import steer


def test_a_gate_that_reads_the_prompt_steers_with_a_static_cache_as_without(family, make_subspace):
    model, ids = family("llama-gqa"), torch.tensor([[1, 4, 6, 7], [1, 5, 9, 10]])

    def make(width: int, rank: int) -> Intervention:
        torch.manual_seed(0)
        gate = TokenGate(width, [rank])
        return Intervention(Rotation(width, rank), Affine(width, rank), gate, steering={}, name="gated").eval()

    subspace = make_subspace(model, "prompt", make=make, factors=False)
    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    found = []
    for cache in ({}, {"cache_implementation": "static"}):
        with steer(model, subspace):
            found.append(model.generate(ids, attention_mask=torch.ones_like(ids), **settings, **cache))
    assert torch.equal(*found)
