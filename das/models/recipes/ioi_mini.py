"""ioi_mini: does the prompts of `das.tasks.ioi`, about all 99 names.

A Llama of three blocks (width 64) trained on prompts with their answers, the names of the test split among them: what
is looked for is how it does it. Answers count five times as much as all other words together; without those words it
only learns to say one of the two names. Its answer is at the last token from block 1 on.

Cost: about 20 s on one core.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.small import answer_loss, asked, small_llama, trained
from das.models.word_tokenizer import PAD, SPECIAL, word_tokenizer
from das.tasks.ioi_words import Words

SEED = 0
CONTEXT = 32
STEPS = 350
BATCH = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
REST = 0.2


def config() -> LlamaConfig:
    """The architecture."""
    return small_llama(
        len(SPECIAL) + len(Words.own().words()), CONTEXT, tie_word_embeddings=True, initializer_range=0.05
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """Every word is one token."""
    return word_tokenizer(Words.own().words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it; global random state and threads are restored."""
    words, rng = Words.own(), random.Random(f"ioi_mini/{SEED}")
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY
        )

        def loss() -> Tensor:
            ids, last, answers = _batch(words, tokens, rng)
            hidden = model.model(ids, use_cache=False).last_hidden_state
            told = ids[:, 1:] != PAD
            rest = F.cross_entropy(model.lm_head(hidden[:, :-1][told]), ids[:, 1:][told])
            return answer_loss(model, hidden, last, answers) + REST * rest

        return trained(model, optimizer, loss, steps, report)


def _batch(words: Words, tokens: PreTrainedTokenizerFast, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Fresh prompts, right-padded; where each ends; what follows."""
    texts, answers = [], []
    for _ in range(BATCH):
        (template, thing), (a, b) = rng.choice(words.settings), rng.sample(words.names, 2)
        subject, answer = rng.choice(((a, b), (b, a)))
        texts.append(template.format(name_A=a, name_B=b, name_C=subject, object=thing, place=rng.choice(words.places)))
        answers.append(answer)
    return asked(tokens, texts, answers)


RECIPE = Recipe(
    "the model of indirect objects", config, tokenizer, train,
    (
        __name__, "das.models.small", "das.models.word_tokenizer", "das.tasks.ioi_words", "das.tasks.names",
    ),
    STEPS,
)  # fmt: skip
