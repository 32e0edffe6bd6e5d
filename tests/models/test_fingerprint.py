"""The fingerprint names the weights and nothing else."""

import time

import pytest
import torch
from torch import nn

from das.errors import ModelError
from das.models.fingerprint import fingerprint
from das.models.load import load_model, meta_model
from tests.families import FAMILIES, tiny_model


def test_loads_of_one_checkpoint_agree(saved):
    first = fingerprint(load_model(saved))
    assert first == fingerprint(load_model(saved)) and len(first) == 64
    assert first == fingerprint(load_model(saved, dtype="bf16")), "fp32 and bf16 loads must agree"
    assert first == fingerprint(load_model(saved, attn_implementation="eager"))


def test_a_bf16_checkpoint_agrees_with_its_fp32_load(tmp_path):
    tiny_model("gemma2", dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert fingerprint(load_model(tmp_path)) == fingerprint(load_model(tmp_path, dtype="fp32"))


def test_other_weights_differ(saved):
    first = fingerprint(load_model(saved))
    assert first != fingerprint(tiny_model("llama-gqa", seed=1))
    assert len({fingerprint(tiny_model(name)) for name in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("name", [n for n, _ in tiny_model("llama-gqa").named_parameters() if ".1." in n])
def test_a_change_in_any_parameter_is_seen(name):
    model = tiny_model("llama-gqa")
    before = fingerprint(model)
    parameter = model.get_parameter(name)
    parameter.view(-1)[-1] += 1.0
    assert fingerprint(model) != before


def test_the_window_counts_although_no_weight_shows_it():
    one, two = tiny_model("mistral"), tiny_model("mistral")
    two.config.sliding_window = 8
    assert fingerprint(one) != fingerprint(two)


def test_it_is_fast(saved):
    model = load_model(saved)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        fingerprint(model)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


def test_networks_without_config_work():
    assert fingerprint(nn.Linear(2, 2)) != fingerprint(nn.Linear(3, 2))


def test_errors(saved):
    with pytest.raises(ModelError, match=r"on the meta device.*load_model"):
        fingerprint(meta_model(saved))
    with pytest.raises(ModelError, match="without parameters"):
        fingerprint(nn.ReLU())
