"""What the project's own small models have in common: a Llama over words, its rows, and the loop that trains it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Report
from das.models.word_tokenizer import BOS, EOS, PAD
from das.shapes import Ids

WARMUP = 50
FLOOR = 0.05


def small_llama(vocabulary: int, context: int, **changes: Any) -> LlamaConfig:
    """Three blocks of width 64, unless `changes` say otherwise."""
    return LlamaConfig(**{
        "vocab_size": vocabulary, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": context, "pad_token_id": PAD,
        "bos_token_id": BOS, "eos_token_id": EOS, **changes,
    })  # fmt: skip


def schedule(step: int, steps: int, warmup: int = WARMUP) -> float:
    """Linear warm-up, then cosine decay to `FLOOR`."""
    warm = min(1.0, (step + 1) / warmup)
    return warm * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def trained(
    model: LlamaForCausalLM,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[], Tensor],
    steps: int,
    report: Report,
    warmup: int = WARMUP,
) -> LlamaForCausalLM:
    """Train in place, every group's rate times `schedule`, gradients clipped to 1; returned in eval mode.

    Args:
        model: in training mode.
        optimizer: of its parameters.
        loss: of the next batch.
        steps: how many.
        report: called with step and loss after each.
        warmup: steps over which the rate rises.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(step, steps, warmup)
        value = loss()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        report(step + 1, value.item())
    return model.eval()


def slower_below(model: LlamaForCausalLM, rate: float, decay: float) -> list[dict[str, Any]]:
    """One group per parameter: the rate shrinks by `decay` per block below the last one."""
    depth = len(model.model.layers)
    below = {id(p): depth - 1 - i for i, layer in enumerate(model.model.layers) for p in layer.parameters()}
    return [{"params": [p], "lr": rate * decay ** below.get(id(p), 0)} for p in model.parameters()]


def padded(rows: Sequence[Sequence[int]]) -> Ids:
    """Token ids, right-padded."""
    return torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=PAD)


def asked(
    tokens: PreTrainedTokenizerFast, texts: Sequence[str], answers: Sequence[str]
) -> tuple[Ids, Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Prompts right-padded, the column where each ends, and the word that follows."""
    rows = tokens(list(texts))["input_ids"]
    last = torch.tensor([len(row) - 1 for row in rows])
    return padded(rows), last, torch.tensor(tokens.convert_tokens_to_ids(list(answers)))


def answer_loss(model: LlamaForCausalLM, hidden: Tensor, last: Tensor, answers: Tensor) -> Tensor:
    """Cross-entropy of the answers after the last tokens, given the hidden states (B, T, width)."""
    return F.cross_entropy(model.lm_head(hidden[torch.arange(len(last)), last]), answers)
