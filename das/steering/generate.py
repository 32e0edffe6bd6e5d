"""Text from a model as it is: left-padded batches, greedy by default, continuations only.

Steered or not makes no difference here; `generate_text` is the unsteered twin of `Steering.generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from das.artifacts.subspace import Subspace
from das.data.collate import pad
from das.data.encode import Encoder
from das.data.spans import AnyPrompt, as_prompt
from das.data.tokenize import EncodedPrompt, Tokenizer
from das.errors import InputError
from das.models.load import load_tokenizer
from das.steering.prompts import trained_chat

#: Settings of sampling that a model's files may carry; greedy decoding warns about each that is not neutral.
_NEUTRAL = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0, "min_p": None, "epsilon_cutoff": 0.0}
_NEUTRAL |= {"eta_cutoff": 0.0}


def generate_text(
    model: nn.Module,
    tokenizer: Tokenizer | None,
    prompts: Sequence[AnyPrompt],
    max_new_tokens: int = 40,
    *,
    like: Subspace | None = None,
    **generate_kwargs: Any,
) -> list[str]:
    """Continue prompts; greedy unless told otherwise.

    Args:
        model: a causal language model.
        tokenizer: None for the model's own.
        prompts: texts ([[marks]] are stripped).
        max_new_tokens: length of the continuations.
        like: encode prompts as this subspace's training did (chat template or not).
        **generate_kwargs: for `model.generate`.

    Returns:
        The continuations alone, in order.

    Raises:
        InputError: no prompts.
        ContextLengthError: a prompt with its continuation does not fit.
    """
    encoder = encoder_for(model, tokenizer, like)
    if isinstance(prompts, str) or not prompts:
        raise InputError("prompts must be a list with at least one text", got=repr(prompts), remedy="give [text]")
    encoded = list(encoder.encode_all([as_prompt(p) for p in prompts]))
    rows = complete(model, encoder, encoded, max_new_tokens, **generate_kwargs)
    return continuation_texts(encoder.tokenizer, encoded, rows)


def encoder_for(model: nn.Module, tokenizer: Tokenizer | None, like: Subspace | None = None) -> Encoder:
    """An encoder that treats prompts as the training of `like` did."""
    chat, system = trained_chat(like)
    return Encoder.of(model, load_tokenizer(model) if tokenizer is None else tokenizer, chat=chat, system=system)


@torch.no_grad()
def complete(
    model: Any, encoder: Encoder, prompts: Sequence[EncodedPrompt], max_new_tokens: int, **generate_kwargs: Any
) -> list[tuple[int, ...]]:
    """New tokens of every row, up to its end of text (left out)."""
    for prompt in prompts:
        encoder.check_length(prompt, max_new_tokens - 1)
    rows = left_padded(model, encoder, prompts)
    config: Any = model.generation_config
    chosen: dict[str, Any] = {
        "do_sample": False,
        "max_new_tokens": max_new_tokens,
        "num_beams": 1,
        "pad_token_id": encoder.pad_id,
    }
    chosen |= generate_kwargs
    if not chosen["do_sample"]:
        chosen |= {
            k: v for k, v in _NEUTRAL.items() if k not in generate_kwargs and getattr(config, k, None) is not None
        }
    if getattr(config, "max_length", None) is not None and "max_length" not in generate_kwargs:
        chosen["max_length"] = None
    out = model.generate(**rows, **chosen)
    ids = out if isinstance(out, Tensor) else out.sequences
    stops = _stops(chosen.get("eos_token_id", config.eos_token_id), encoder.tokenizer)
    return [_until(row, stops) for row in ids[:, rows["input_ids"].shape[1] :].tolist()]


def left_padded(model: nn.Module, encoder: Encoder, prompts: Sequence[EncodedPrompt]) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask`, (B, T), where the model's inputs go."""
    ids, mask = pad([list(p.ids) for p in prompts], encoder.pad_id, "left")
    device = device_of(model)
    return {"input_ids": ids.to(device), "attention_mask": mask.long().to(device)}


def device_of(model: Any) -> torch.device:
    """Where the model's inputs go."""
    device: torch.device = model.get_input_embeddings().weight.device
    return device


def continuation_texts(
    tokenizer: Tokenizer, prompts: Sequence[EncodedPrompt], rows: Sequence[Sequence[int]]
) -> list[str]:
    """What each row adds to its prompt's text, its leading space included, without special tokens."""
    each = len(rows) // len(prompts)
    return [_added(tokenizer, prompts[i // each].ids, row) for i, row in enumerate(rows)]


def _added(tokenizer: Tokenizer, prompt: Sequence[int], row: Sequence[int]) -> str:
    head, whole, alone = (
        str(tokenizer.decode(list(ids), skip_special_tokens=True)) for ids in (prompt, [*prompt, *row], row)
    )
    return whole[len(head) :] if whole.startswith(head) else alone


def _stops(configured: Any, tokenizer: Tokenizer) -> frozenset[int]:
    listed = configured if isinstance(configured, list | tuple) else [configured]
    return frozenset(int(i) for i in (*listed, tokenizer.eos_token_id) if i is not None)


def _until(row: list[int], stops: frozenset[int]) -> tuple[int, ...]:
    end = next((i for i, token in enumerate(row) if token in stops), len(row))
    return tuple(row[:end])
