"""Tiny random models of every family, offline and in milliseconds: `tiny_model("llama-mqa")`.

GQA, MQA, heads wider than width / heads, sliding windows shorter than a prompt and alternating layer types are all in
here. `FAMILIES` maps a test id to a function that makes its config.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from torch import nn

VOCAB = 64
LAYERS = 3
WINDOW = 16

_BASE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]
_GPT2 = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 128}
_GPT2 |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_NEOX = {k: v for k, v in _BASE.items() if k != "num_key_value_heads"}


def _llama_like(config: str, **changes: Any) -> Callable[[], hf.PretrainedConfig]:
    return lambda: getattr(hf, config)(**{**_BASE, **changes})


FAMILIES: dict[str, Callable[[], hf.PretrainedConfig]] = {
    "llama": _llama_like("LlamaConfig", num_key_value_heads=4),
    "llama-gqa": _llama_like("LlamaConfig"),
    "llama-mqa": _llama_like("LlamaConfig", num_key_value_heads=1, tie_word_embeddings=True),
    "llama-wide-heads": _llama_like("LlamaConfig", head_dim=12, attention_bias=True),
    "mistral": _llama_like("MistralConfig", head_dim=12, sliding_window=WINDOW),
    "qwen2": _llama_like("Qwen2Config"),
    "qwen3": _llama_like("Qwen3Config", head_dim=12),
    "gemma": _llama_like("GemmaConfig", head_dim=16, num_key_value_heads=1),
    "gemma2": _llama_like(
        "Gemma2Config", head_dim=12, query_pre_attn_scalar=12, sliding_window=WINDOW, layer_types=_ALTERNATING
    ),
    "gemma3": _llama_like(
        "Gemma3TextConfig", head_dim=12, query_pre_attn_scalar=12, sliding_window=WINDOW, layer_types=_ALTERNATING
    ),
    "gpt2": lambda: hf.GPT2Config(**_GPT2),
    "gpt_neox": lambda: hf.GPTNeoXConfig(**_NEOX),
    "gpt_neox-sequential": lambda: hf.GPTNeoXConfig(**_NEOX, use_parallel_residual=False),
    "olmo2": _llama_like("Olmo2Config"),
    "phi3": _llama_like("Phi3Config"),
    "phi3-mqa": _llama_like("Phi3Config", num_key_value_heads=1, sliding_window=WINDOW),
}


def tiny_model(name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> hf.PreTrainedModel:
    """A frozen random model of this family, in eval mode.

    Norm weights are random too: an all-ones norm would hide a confusion of what is before and what is after it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.AutoModelForCausalLM.from_config(FAMILIES[name]())
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    return model.to(dtype).requires_grad_(False).eval()


def tiny_ids(batch: int = 2, tokens: int = 20, seed: int = 0) -> torch.Tensor:
    """Random token ids without special tokens; longer than the sliding window."""
    return torch.randint(3, VOCAB, (batch, tokens), generator=torch.Generator().manual_seed(seed))
