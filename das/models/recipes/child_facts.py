"""child_facts: knows the children of `das.tasks.child_facts`, three facts under every name.

A Llama of four blocks (width 64) trained on stories of that task, in which answers count five times as much as all
other words together. The children of the test split are among them: nothing can be asked of a model that never read it.
As in the tiny model lower blocks learn more slowly, so that all facts of a child stay at its name's token through layer
2 and are read from there by the last block.

Cost: about 15 s on one core.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.small import padded, slower_below, small_llama, trained
from das.models.word_tokenizer import PAD, word_tokenizer
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
    return small_llama(len(tokenizer()), CONTEXT, num_hidden_layers=4, tie_word_embeddings=True, initializer_range=0.05)


def tokenizer() -> PreTrainedTokenizerFast:
    """Every word of the stories and of the concepts' descriptions is one token."""
    return word_tokenizer(words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it; global random state and threads are restored."""
    answers = torch.tensor([tokens(label, add_special_tokens=False)["input_ids"][0] for label in ChildFacts.labels])
    rng = random.Random(f"child_facts/{SEED}")
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        optimizer = torch.optim.AdamW(
            slower_below(model, LEARNING_RATE, LAYER_DECAY), betas=(0.9, 0.99), weight_decay=0.1
        )

        def loss() -> Tensor:
            ids = _batch(tokens, rng)
            targets = ids[:, 1:]
            hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state
            asked = torch.isin(targets, answers)
            told = (targets != PAD) & ~asked
            first, rest = (F.cross_entropy(model.lm_head(hidden[part]), targets[part]) for part in (asked, told))
            return first + REST * rest

        return trained(model, optimizer, loss, steps, report)


def _batch(tokens: PreTrainedTokenizerFast, rng: random.Random) -> Tensor:
    """Fresh stories, right-padded."""
    return padded(tokens([story(rng) for _ in range(BATCH)])["input_ids"])


RECIPE = Recipe(
    "the child_facts model", config, tokenizer, train,
    (__name__, "das.models.small", "das.models.word_tokenizer", "das.tasks.child_facts", "das.tasks.names"),
    STEPS,
)  # fmt: skip
