"""A random Llama with a word tokenizer that knows the `name_gender` prompts: a whole model folder in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.tasks.name_gender import NameGender


def save_toy_model(folder: Path, layers: int = 3, width: int = 32, seed: int = 0) -> Path:
    """Write model and tokenizer to `folder` in Hugging Face format."""
    texts = [p.text for split in ("train", "val", "test") for p, _ in NameGender().prompts(split, 400, 0)]
    names = {name for split in ("train", "val", "test") for name in NameGender().entities(split)}
    pre = pre_tokenizers.Whitespace()
    words = {piece for text in [*texts, "she he her his him", *names] for piece, _ in pre.pre_tokenize_str(text)}
    vocab = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocab), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.25)
    model.save_pretrained(folder)
    return folder
