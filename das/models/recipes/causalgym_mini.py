"""causalgym_mini: does the eight tasks of `das.tasks.causalgym_mini`.

A Llama of three blocks (width 64) trained on the word that follows each sentence; tasks and types are equally frequent.

Cost: about 16 s on one core.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.recipes.tiny import schedule
from das.models.word_tokenizer import BOS, EOS, PAD, SPECIAL, word_tokenizer
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
    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(words()), hidden_size=64, intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=CONTEXT, pad_token_id=PAD,
        bos_token_id=BOS, eos_token_id=EOS,
    )  # fmt: skip


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
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * schedule(step, steps)
            ids, last, answers = _batch(gyms, tokens, rng)
            hidden = model.model(ids, use_cache=False).last_hidden_state
            loss = F.cross_entropy(model.lm_head(hidden[torch.arange(BATCH), last]), answers)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            report(step + 1, loss.item())
        return model.eval()


def _batch(gyms: list[Gym], tokens: PreTrainedTokenizerFast, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Fresh sentences, right-padded; where each ends; what follows."""
    texts, labels = [], []
    for i in range(BATCH):
        gym = gyms[i % len(gyms)]
        of, template = rng.choice(gym.types), rng.choice(gym.templates)
        texts.append(template.fill({**gym.shared(template, rng), **gym.own(of, rng)}).text)
        labels.append(rng.choice(gym.labels[of]).strip())
    rows = tokens(texts)["input_ids"]
    ids = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=PAD)
    last = torch.tensor([len(row) - 1 for row in rows])
    return ids, last, torch.tensor(tokens.convert_tokens_to_ids(labels))


RECIPE = Recipe(
    "the model of eight sentence patterns", config, tokenizer, train,
    (
        __name__, "das.models.recipes.tiny", "das.models.word_tokenizer", "das.tasks.causalgym",
        "das.tasks.causalgym_mini", "das.tasks.names", "das.tasks.templates",
    ),
    STEPS,
)  # fmt: skip
