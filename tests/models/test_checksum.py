"""A checksum sees every bit of every weight, and nothing else."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from das.errors import ModelError
from das.models import checksum as module
from das.models.checksum import checksum
from tests.families import tiny_model


def test_any_entry_of_any_tensor_counts(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 1000)  # so that most tensors have several
    model = tiny_model("gpt2")
    before = checksum(model)
    assert checksum(deepcopy(model)) == before
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        flat = tensor.detach().reshape(-1)
        for entry in {0, len(flat) // 3, len(flat) - 1}:
            kept = flat[entry].clone()
            flat[entry] = kept + 1e-3 if tensor.is_floating_point() else ~kept
            assert checksum(model) != before, (name, entry)
            flat[entry] = kept
    assert checksum(model) == before


def test_order_dtype_and_config_count():
    model = tiny_model("llama-gqa")
    found = [checksum(model)]
    weight = model.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight.copy_(weight.flip(0))
    found.append(checksum(model))
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_theta": 5.0}
    found.append(checksum(model))
    found.append(checksum(model.bfloat16()))
    assert len(set(found)) == 4
    model.config._name_or_path = "somewhere else"
    assert checksum(model) == found[-1]


def test_weights_that_are_elsewhere_are_refused():
    with pytest.raises(ModelError):
        checksum(tiny_model("llama-gqa").to("meta"))
