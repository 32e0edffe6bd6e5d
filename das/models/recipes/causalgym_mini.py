"""causalgym_mini: does the eight tasks of `das.tasks.causalgym_mini`.

A Llama of three blocks (width 64) trained on the word that follows each sentence; tasks and types are equally frequent.

Cost: about 16 s on one core.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.small import answer_loss, asked, small_llama, trained
from das.models.word_tokenizer import SPECIAL, word_tokenizer
from das.tasks.causalgym_mini import TEMPLATES, words
from das.tasks.templates import Gym

SEED = 0
CONTEXT = 24
STEPS = 300
BATCH = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1


def config() -> LlamaConfig:
    """The architecture."""
    return small_llama(len(SPECIAL) + len(words()), CONTEXT)


def tokenizer() -> PreTrainedTokenizerFast:
    """Every word is one token."""
    return word_tokenizer(words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it on continuations alone; global random state and threads are restored."""
    gyms = [Gym.parse(name, entry) for name, entry in TEMPLATES.items()]
    rng = random.Random(f"causalgym_mini/{SEED}")
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

        def loss() -> Tensor:
            ids, last, answers = _batch(gyms, tokens, rng)
            return answer_loss(model, model.model(ids, use_cache=False).last_hidden_state, last, answers)

        return trained(model, optimizer, loss, steps, report)


def _batch(gyms: list[Gym], tokens: PreTrainedTokenizerFast, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Fresh sentences, right-padded; where each ends; what follows."""
    texts, labels = [], []
    for i in range(BATCH):
        gym = gyms[i % len(gyms)]
        of, template = rng.choice(gym.types), rng.choice(gym.templates)
        texts.append(template.fill({**gym.shared(template, rng), **gym.own(of, rng)}).text)
        labels.append(rng.choice(gym.labels[of]).strip())
    return asked(tokens, texts, labels)


RECIPE = Recipe(
    "the model of eight sentence patterns", config, tokenizer, train,
    (
        __name__, "das.models.small", "das.models.word_tokenizer", "das.tasks.causalgym",
        "das.tasks.causalgym_mini", "das.tasks.names", "das.tasks.templates",
    ),
    STEPS,
)  # fmt: skip
