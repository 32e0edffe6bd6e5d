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
from das.models.recipes.tiny import schedule
from das.models.word_tokenizer import BOS, EOS, PAD, SPECIAL, word_tokenizer
from das.tasks.two_lexicons import CAUSAL_MODEL, CONTENTS, COUNT, CUES, LENGTH, TEMPLATE, words

SEED = 0
CONTEXT = 24
STEPS = 200
BATCH = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1


def config() -> LlamaConfig:
    """The architecture."""
    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(words()), hidden_size=64, intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=CONTEXT, pad_token_id=PAD,
        bos_token_id=BOS, eos_token_id=EOS, tie_word_embeddings=True, initializer_range=0.05,
    )  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """Every word is one token."""
    return word_tokenizer(words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it on responses alone; global random state and threads are restored."""
    rng = random.Random(f"cdas_mini/{SEED}")
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * schedule(step, steps)
            ids = _batch(tokens, rng)
            hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state[:, -LENGTH:]
            loss = F.cross_entropy(model.lm_head(hidden).flatten(0, 1), ids[:, -LENGTH:].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            report(step + 1, loss.item())
        return model.eval()


def _batch(tokens: PreTrainedTokenizerFast, rng: random.Random) -> Tensor:
    """Fresh prompts with their responses, all equally long."""
    cues, texts = [cue for known in CUES.values() for cue in known], []
    for _ in range(BATCH):
        inputs = {"cue": rng.choice(cues), "contents": " ".join(rng.sample(CONTENTS, COUNT))}
        texts.append(TEMPLATE.format(**inputs) + CAUSAL_MODEL.run(inputs)["response"])
    return torch.tensor(tokens(texts)["input_ids"])


RECIPE = Recipe(
    "the model of two lexicons", config, tokenizer, train,
    (__name__, "das.models.recipes.tiny", "das.models.word_tokenizer", "das.tasks.two_lexicons"), STEPS,
)  # fmt: skip
