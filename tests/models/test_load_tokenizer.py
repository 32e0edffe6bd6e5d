"""Tokenizers: with offsets, able to pad, vocabulary untouched."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from das.errors import ModelError, TokenizerError
from das.models.load import load_model, load_tokenizer


def save_tokenizer(folder, **special):
    vocab = {token: i for i, token in enumerate(["<unk>", "<eos>", "a", "b"])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("special", "pad"),
    [
        ({"eos_token": "<eos>", "unk_token": "<unk>"}, "<eos>"),
        ({"unk_token": "<unk>"}, "<unk>"),
        ({"pad_token": "b", "eos_token": "<eos>"}, "b"),
    ],
)
def test_padding_uses_a_token_that_exists(special, pad, tmp_path):
    tokenizer = load_tokenizer(save_tokenizer(tmp_path, **special))
    assert tokenizer.pad_token == pad and len(tokenizer) == 4
    assert tokenizer(["a b", "a"], padding=True)["input_ids"][1][1] == tokenizer.pad_token_id


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_padding_side_is_left_alone(side, tmp_path):
    assert load_tokenizer(save_tokenizer(tmp_path, eos_token="<eos>", padding_side=side)).padding_side == side


def test_nothing_to_pad_with(tmp_path):
    with pytest.raises(TokenizerError, match=r"to pad with.*tokenizer_config\.json"):
        load_tokenizer(save_tokenizer(tmp_path))


def test_slow_tokenizers_are_refused(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "<unk>": 2}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    with pytest.raises(TokenizerError, match="no character offsets"):
        load_tokenizer(tmp_path)


def test_missing_tokenizers(tmp_path, saved):
    with pytest.raises(TokenizerError, match="cannot be loaded"):
        load_tokenizer(saved)
    with pytest.raises(ModelError, match="no such directory"):
        load_tokenizer("./nowhere")
    with pytest.raises(TokenizerError, match="does not say where it came from"):
        model = load_model(saved)
        model.config._name_or_path = model.name_or_path = ""
        load_tokenizer(model)


def test_a_trained_checkpoint(stories):
    tokenizer = load_tokenizer(load_model(stories))
    assert tokenizer.get_vocab() == load_tokenizer(str(stories)).get_vocab()
    encoded = tokenizer("Once upon a time", return_offsets_mapping=True)
    assert encoded["offset_mapping"][-1][1] == len("Once upon a time")


def test_a_model_s_tokenizer_is_loaded_once_and_again_where_the_model_says_another_place(tmp_path):
    model = load_model("tiny")
    first = load_tokenizer(model)
    assert load_tokenizer(model) is first and load_tokenizer("tiny") is not first
    model.name_or_path = str(save_tokenizer(tmp_path, eos_token="<eos>"))
    assert len(load_tokenizer(model)) == 4
