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
from das.models.recipes.tiny import schedule
from das.models.word_tokenizer import BOS, EOS, PAD, SPECIAL, word_tokenizer
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
    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(Words.own().words()), hidden_size=64, intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=CONTEXT, pad_token_id=PAD,
        bos_token_id=BOS, eos_token_id=EOS, tie_word_embeddings=True, initializer_range=0.05,
    )  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """Every word is one token."""
    return word_tokenizer(Words.own().words(), CONTEXT)


def train(tokens: PreTrainedTokenizerFast, report: Report, steps: int = STEPS) -> LlamaForCausalLM:
    """Train it; global random state and threads are restored."""
    words, rng = Words.own(), random.Random(f"ioi_mini/{SEED}")
    with isolated(SEED):
        model = LlamaForCausalLM(config()).train()
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * schedule(step, steps)
            ids, last, answers = _batch(words, tokens, rng)
            hidden = model.model(ids, use_cache=False).last_hidden_state
            told = ids[:, 1:] != PAD
            loss = F.cross_entropy(model.lm_head(hidden[torch.arange(BATCH), last]), answers)
            loss = loss + REST * F.cross_entropy(model.lm_head(hidden[:, :-1][told]), ids[:, 1:][told])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            report(step + 1, loss.item())
        return model.eval()


def _batch(words: Words, tokens: PreTrainedTokenizerFast, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Fresh prompts, right-padded; where each ends; what follows."""
    texts, answers = [], []
    for _ in range(BATCH):
        (template, thing), (a, b) = rng.choice(words.settings), rng.sample(words.names, 2)
        subject, answer = rng.choice(((a, b), (b, a)))
        texts.append(template.format(name_A=a, name_B=b, name_C=subject, object=thing, place=rng.choice(words.places)))
        answers.append(answer)
    rows = tokens(texts)["input_ids"]
    ids = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=PAD)
    last = torch.tensor([len(row) - 1 for row in rows])
    return ids, last, torch.tensor(tokens.convert_tokens_to_ids(answers))


RECIPE = Recipe(
    "the model of indirect objects", config, tokenizer, train,
    (
        __name__, "das.models.recipes.tiny", "das.models.word_tokenizer", "das.tasks.ioi_words", "das.tasks.names",
    ),
    STEPS,
)  # fmt: skip
