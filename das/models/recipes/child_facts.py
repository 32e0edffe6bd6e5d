"""child_facts: knows the children of `das.tasks.child_facts`, three facts under every name.

A Llama of four blocks (width 64) trained on stories of that task, in which answers count five times as much as all
other words together. The children of the test split are among them: nothing can be asked of a model that never read it.
As in the tiny model lower blocks learn more slowly, so that all facts of a child stay at its name's token through layer
2 and are read from there by the last block.

Cost: about 15 s on one core.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.recipes.tiny import schedule
from das.models.word_tokenizer import BOS, EOS, PAD, word_tokenizer
from das.tasks.child_facts import ChildFacts, story, words

SEED = 0
CONTEXT = 96
STEPS = 450
BATCH = 16
LEARNING_RATE = 3e-3
LAYER_DECAY = 0.2
REST = 0.2


def config() -> LlamaConfig:
    """The architecture."""
    return LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=CONTEXT, tie_word_embeddings=True, pad_token_id=PAD,
        bos_token_id=BOS, eos_token_id=EOS, initializer_range=0.05,
    )  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """Every word of the stories and of the concepts' descriptions is one token."""
    return word_tokenizer(words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it; global random state and threads are restored."""
    answers = torch.tensor([tokens(label, add_special_tokens=False)["input_ids"][0] for label in ChildFacts.labels])
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        depth = len(model.model.layers)
        below = {id(p): depth - 1 - i for i, layer in enumerate(model.model.layers) for p in layer.parameters()}
        rates = [LEARNING_RATE * LAYER_DECAY ** below.get(id(p), 0) for p in model.parameters()]
        optimizer = torch.optim.AdamW(
            [{"params": [p]} for p in model.parameters()], betas=(0.9, 0.99), weight_decay=0.1
        )
        for step, ids in enumerate(_batches(tokens, steps)):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step, steps)
            targets = ids[:, 1:]
            hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state
            asked = torch.isin(targets, answers)
            told = (targets != PAD) & ~asked
            loss, rest = (F.cross_entropy(model.lm_head(hidden[part]), targets[part]) for part in (asked, told))
            loss = loss + REST * rest
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            report(step + 1, loss.item())
        return model.eval()


def _batches(tokens: PreTrainedTokenizerFast, steps: int) -> Iterator[Tensor]:
    """Fresh stories for every step, right-padded."""
    rng = random.Random(f"child_facts/{SEED}")
    for _ in range(steps):
        rows = tokens([story(rng) for _ in range(BATCH)])["input_ids"]
        yield torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=PAD)


RECIPE = Recipe(
    "the child_facts model", config, tokenizer, train,
    (__name__, "das.models.recipes.tiny", "das.models.word_tokenizer", "das.tasks.child_facts", "das.tasks.names"),
    STEPS,
)  # fmt: skip
