"""ravel_mini: knows country, continent and language of the cities of `das.tasks.ravel_mini`.

A Llama of three blocks (width 64) trained to answer every prompt of the task about every city, those of the test split
too: what is looked for is how it stores them, not whether it can guess. It reads a city in its first block; later
`block_output`s at the city's token no longer matter.

Cost: about 45 s on one core.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.small import answer_loss, asked, small_llama, trained
from das.models.word_tokenizer import SPECIAL, word_tokenizer
from das.tasks.cities import CITIES
from das.tasks.ravel_mini import PROMPTS, words
from das.tasks.ravel_table import SLOT

SEED = 0
CONTEXT = 24
STEPS = 800
BATCH = 128
LEARNING_RATE = 3e-3
#: Large, so that what cities have in common is stored once: attributes of unseen cities can be found.
WEIGHT_DECAY = 2.0


def config() -> LlamaConfig:
    """The architecture."""
    return small_llama(len(SPECIAL) + len(words()), CONTEXT)


def tokenizer() -> PreTrainedTokenizerFast:
    """Every city, value and word of a prompt is one token."""
    return word_tokenizer(words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it on answers alone; global random state and threads are restored."""
    ids, last, answers = _facts(tokens)
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

        def loss() -> Tensor:
            rows = torch.randint(len(ids), (BATCH,))
            hidden = model.model(ids[rows], use_cache=False).last_hidden_state
            return answer_loss(model, hidden, last[rows], answers[rows])

        return trained(model, optimizer, loss, steps, report)


def _facts(tokens: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor, Tensor]:
    """Every prompt about every city, right-padded; where it ends; its answer."""
    known = [(city, a, template) for city in CITIES for a, row in PROMPTS.items() for template in row]
    texts = [template.replace(SLOT, city) for city, _, template in known]
    return asked(tokens, texts, [CITIES[city][a] for city, a, _ in known])


RECIPE = Recipe(
    "the model that knows cities", config, tokenizer, train,
    (__name__, "das.models.small", "das.models.word_tokenizer", "das.tasks.cities", "das.tasks.ravel_mini"),
    STEPS,
)  # fmt: skip
