"""tiny: the default model, a small language model of children's stories.

A Llama of six blocks (width 96, 0.76 million parameters) trained with next-token cross-entropy on the stories of
`das.models.tiny_grammar`; nothing in the recipe looks at genders or activations. Blocks learn at a rate that shrinks
by `LAYER_DECAY` per block below the last one (layer-wise learning-rate decay). Without it a net this shallow reads the
name in its first block, and no later `block_output` at the name matters; with it the name's gender stays at the name's
tokens through layer 2 and is read from there by the blocks above, as in models trained for longer on more.

Cost: about a minute on one core.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Recipe, Report, isolated
from das.models.small import padded, slower_below, trained
from das.models.tiny_grammar import stories

SEED = 0
VOCAB = 1024
CONTEXT = 256
STEPS = 680
BATCH = 8
LEARNING_RATE = 2e-3
LAYER_DECAY = 0.2
TOKENIZER_STORIES = 4000
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
PAD, BOS, EOS = range(3)


def tiny_config() -> LlamaConfig:
    """The architecture; needs no training."""
    return LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the grammar's text (1 s); every word of the grammar is one token, BOS comes first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories(TOKENIZER_STORIES, SEED), trainer)
    bos = SPECIAL["bos_token"]
    first = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, BOS)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), first])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=CONTEXT, clean_up_tokenization_spaces=False, **SPECIAL
    )


def train_tiny(
    tokenizer: PreTrainedTokenizerFast, steps: int = STEPS, report: Report = lambda step, loss: None
) -> LlamaForCausalLM:
    """Train it, calling `report(step, loss)` after every step; global random state and threads are restored."""
    with isolated(SEED):
        model = LlamaForCausalLM(tiny_config()).train()
        optimizer = torch.optim.AdamW(_groups(model), betas=(0.9, 0.99))
        batches = _batches(tokenizer, steps)
        return trained(model, optimizer, lambda: _loss(model, next(batches)), steps, report)


def _groups(model: LlamaForCausalLM) -> list[dict]:
    """One group per parameter: its own learning rate by block, weight decay on matrices only."""
    groups = slower_below(model, LEARNING_RATE, LAYER_DECAY)
    return [{**group, "weight_decay": 0.1 if group["params"][0].ndim > 1 else 0.0} for group in groups]


def _batches(tokenizer: PreTrainedTokenizerFast, steps: int) -> Iterator[Tensor]:
    """Fresh stories for every step, right-padded, each ended by EOS."""
    texts = stories(steps * BATCH, SEED)
    for start in range(0, len(texts), BATCH):
        yield padded([[*ids, EOS] for ids in tokenizer(texts[start : start + BATCH])["input_ids"]])


def _loss(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
    """Next-token cross-entropy; logits are computed where there is a next token only."""
    targets = ids[:, 1:]
    keep = targets != PAD
    hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state[keep]
    return F.cross_entropy(model.lm_head(hidden), targets[keep])


RECIPE = Recipe(
    "the tiny model", tiny_config, tiny_tokenizer, lambda tokenizer, report: train_tiny(tokenizer, report=report),
    (__name__, "das.models.small", "das.models.tiny_grammar", "das.tasks.names"), STEPS,
)  # fmt: skip
