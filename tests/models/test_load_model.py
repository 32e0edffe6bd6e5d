"""Loading: frozen, in the dtype asked for, and a typed error with a remedy for everything that can be wrong."""

import json

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from das.errors import ConfigError, ModelError, UnknownChoiceError
from das.models.families import ModelView
from das.models.load import load_model, meta_model
from das.models.recipes.base import names, recipe
from das.types import Site
from tests.families import FAMILIES, tiny_ids, tiny_model


def test_a_loaded_model_is_frozen_and_in_eval_mode(saved):
    model = load_model(str(saved))
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(m.training for m in model.modules())
    expected = tiny_model("llama-gqa")
    assert torch.equal(model(tiny_ids()).logits, expected(tiny_ids()).logits)
    assert model.name_or_path == str(saved)


@pytest.mark.parametrize("dtype", ["bf16", "bfloat16", "torch.bfloat16", torch.bfloat16])
def test_dtypes(saved, dtype):
    assert load_model(saved, dtype=dtype).dtype == torch.bfloat16


def test_the_checkpoints_dtype_is_the_default(saved, tmp_path):
    tiny_model("gpt2", dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert load_model(tmp_path).dtype == torch.bfloat16
    assert load_model(tmp_path, dtype="float32").dtype == torch.float32
    assert load_model(saved, dtype="auto").dtype == torch.float32


def test_device_and_device_map(saved, monkeypatch):
    assert load_model(saved, device="cpu").device.type == "cpu"

    def refuse(*args, **kwargs):
        raise AssertionError("a model placed by device_map must not be moved")

    monkeypatch.setattr(hf.PreTrainedModel, "to", refuse)
    assert load_model(saved, device_map="cpu").device.type == "cpu"


def test_keyword_arguments_reach_transformers(saved):
    assert load_model(saved, attn_implementation="eager").config._attn_implementation == "eager"


def test_a_meta_model_has_shapes_and_no_weights(saved):
    model = meta_model(saved)
    assert all(p.is_meta and not p.requires_grad for p in model.parameters())
    assert not model.training
    assert ModelView(model).bind(Site(1, "k", heads=(1,))).columns == slice(8, 16)


@pytest.mark.parametrize("name", names())
def test_own_models_have_shapes_before_they_are_made(name, monkeypatch):
    monkeypatch.setattr("das.models.cache.model_dir", None)
    model = meta_model(name)
    assert all(p.is_meta for p in model.parameters())
    assert model.config.to_diff_dict() == recipe(name).config().to_diff_dict()


@pytest.mark.parametrize("config", [hf.T5Config(), hf.BertConfig(), hf.ViTConfig()], ids=lambda c: c.model_type)
def test_models_that_are_not_causal_are_refused_before_loading(config, tmp_path):
    config.save_pretrained(tmp_path)
    for load in (load_model, meta_model):
        with pytest.raises(ModelError, match=r"(encoder-decoder|not a causal).*decoder-only"):
            load(tmp_path)


def test_bidirectional_decoders_are_refused(tmp_path):
    config = FAMILIES["gemma3"]()
    config.use_bidirectional_attention = True
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not a causal language model"):
        load_model(tmp_path)


@pytest.mark.parametrize("path", ["./nowhere", "../nowhere", "/no/where", "~/no-such-model", "a/b/c", ""])
def test_paths_that_do_not_exist(path):
    for load in (load_model, meta_model):
        with pytest.raises(ModelError, match=r"no such directory.*hub id, or 'tiny'"):
            load(path)


def test_directories_and_files_that_are_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="is a file"):
        load_model(tmp_path / "config.json")
    with pytest.raises(ModelError, match="config cannot be read"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-family"}))
    with pytest.raises(ModelError, match="no-such-family"):
        load_model(tmp_path)


def test_missing_and_broken_weights(tmp_path):
    FAMILIES["llama"]().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load_model(tmp_path)


def test_a_checkpoint_that_leaves_weights_random_is_refused(saved, tmp_path):
    weights = load_file(saved / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((saved / "config.json").read_text())
    with pytest.raises(ModelError, match=r"lacks 1 .*layers\.1\.mlp\.up_proj"):
        load_model(tmp_path)


def test_a_hub_id_that_cannot_be_reached():
    with pytest.raises(ModelError, match=r"no-such-user/no-such-model.*local directory"):
        load_model("no-such-user/no-such-model", local_files_only=True)


def test_bad_arguments(saved):
    with pytest.raises(UnknownChoiceError, match="Did you mean 'float32'"):
        load_model(saved, dtype="float23")
    with pytest.raises(ConfigError, match="not both"):
        load_model(saved, device="cpu", device_map="auto")
    with pytest.raises(ModelError, match="device is not available"):
        load_model(saved, device="no-such-device")
