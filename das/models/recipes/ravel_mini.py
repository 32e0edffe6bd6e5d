"""ravel_mini: knows country, continent and language of the cities of `das.tasks.ravel_mini`.

A Llama of three blocks (width 64) trained to answer every prompt of the task about every city, those of the test split
too: what is looked for is how it stores them, not whether it can guess. It reads a city in its first block; later
`block_output`s at the city's token no longer matter.

Cost: about 45 s on one core.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.recipes.tiny import schedule
from das.models.word_tokenizer import BOS, EOS, PAD, SPECIAL, word_tokenizer
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
    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(words()), hidden_size=64, intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=CONTEXT, pad_token_id=PAD,
        bos_token_id=BOS, eos_token_id=EOS,
    )  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """Every city, value and word of a prompt is one token."""
    return word_tokenizer(words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it on answers alone; global random state and threads are restored."""
    ids, last, answers = _facts(tokens)
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * schedule(step, steps)
            rows = torch.randint(len(ids), (BATCH,))
            hidden = model.model(ids[rows], use_cache=False).last_hidden_state
            logits = model.lm_head(hidden[torch.arange(BATCH), last[rows]])
            loss = F.cross_entropy(logits, answers[rows])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            report(step + 1, loss.item())
        return model.eval()


def _facts(tokens: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor, Tensor]:
    """Every prompt about every city, right-padded; where it ends; its answer."""
    asked = [(city, a, template) for city in CITIES for a, row in PROMPTS.items() for template in row]
    rows = tokens([template.replace(SLOT, city) for city, _, template in asked])["input_ids"]
    ids = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=PAD)
    last = torch.tensor([len(row) - 1 for row in rows])
    answers = tokens.convert_tokens_to_ids([CITIES[city][a] for city, a, _ in asked])
    return ids, last, torch.tensor(answers)


RECIPE = Recipe(
    "the model that knows cities", config, tokenizer, train,
    (__name__, "das.models.recipes.tiny", "das.models.word_tokenizer", "das.tasks.cities", "das.tasks.ravel_mini"),
    STEPS,
)  # fmt: skip
