"""cdas_mini: writes the language of `das.tasks.two_lexicons`, in plain or in grand words.

A Llama of three blocks (width 64) trained on responses to prompts with every contents, those of the test split among
them: what is looked for is how it chooses its words.

Cost: about 8 s on one core.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.small import small_llama, trained
from das.models.word_tokenizer import SPECIAL, word_tokenizer
from das.tasks.two_lexicons import CAUSAL_MODEL, CONTENTS, COUNT, CUES, LENGTH, TEMPLATE, words

SEED = 0
CONTEXT = 24
STEPS = 200
BATCH = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1


def config() -> LlamaConfig:
    """The architecture."""
    return small_llama(len(SPECIAL) + len(words()), CONTEXT, tie_word_embeddings=True, initializer_range=0.05)


def tokenizer() -> PreTrainedTokenizerFast:
    """Every word is one token."""
    return word_tokenizer(words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it on responses alone; global random state and threads are restored."""
    rng = random.Random(f"cdas_mini/{SEED}")
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY
        )

        def loss() -> Tensor:
            ids = _batch(tokens, rng)
            hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state[:, -LENGTH:]
            return F.cross_entropy(model.lm_head(hidden).flatten(0, 1), ids[:, -LENGTH:].flatten())

        return trained(model, optimizer, loss, steps, report)


def _batch(tokens: PreTrainedTokenizerFast, rng: random.Random) -> Tensor:
    """Fresh prompts with their responses, all equally long."""
    cues, texts = [cue for known in CUES.values() for cue in known], []
    for _ in range(BATCH):
        inputs = {"cue": rng.choice(cues), "contents": " ".join(rng.sample(CONTENTS, COUNT))}
        texts.append(TEMPLATE.format(**inputs) + CAUSAL_MODEL.run(inputs)["response"])
    return torch.tensor(tokens(texts)["input_ids"])


RECIPE = Recipe(
    "the model of two lexicons", config, tokenizer, train,
    (__name__, "das.models.small", "das.models.word_tokenizer", "das.tasks.two_lexicons"), STEPS,
)  # fmt: skip
