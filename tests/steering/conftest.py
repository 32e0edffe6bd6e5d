"""Tiny models of the families, a word-level tokenizer of their vocabulary, and subspaces made by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from das.artifacts.model_card import ModelCard
from das.artifacts.subspace import Subspace
from das.factors import Factors
from das.interventions.sets import InterventionSet
from das.methods.das import das
from das.types import Site, SpanFinder
from tests.families import VOCAB, tiny_model

TEXT = "Tim Sue Bob Ann he she his her went home to the park and was happy sad a one day saw big red dog . ,"
WORDS = TEXT.split()
torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it brings

#: The level of the positive and the negative mean in every coordinate, far from what random models compute.
LEVEL = 3.0


@pytest.fixture(scope="session")
def family() -> Callable[[str], nn.Module]:
    """Family id -> its shared tiny model, in fp32."""
    return cache(tiny_model)


@pytest.fixture
def llama(family: Callable[[str], nn.Module]) -> nn.Module:
    return family("llama-gqa")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """One word, one token; puts <s> in front."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    vocab = {word: i for i, word in enumerate([*special, *WORDS])}
    vocab |= {f"w{i}": i for i in range(len(vocab), VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _subspace(
    model: nn.Module,
    positions: str = "all",
    *sites: Site,
    rank: int = 2,
    level: float = LEVEL,
    factors: bool = True,
    make: Callable[..., Any] = das,
    width: int = 32,
    **fields: Any,
) -> Subspace:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        made = [(site, make(width, rank)) for site in sites or (Site(1, "block_output", positions),)]
    ones, step = torch.ones(rank), 0.1 * torch.arange(rank)
    known = Factors(level * ones + step, -level * ones + step, ones, ones, 2 * level * ones, (" she", " he"), 4, 1.0)
    finder = SpanFinder("name", ("Tim", "Sue", "Bob"))
    interventions = InterventionSet(made).requires_grad_(False)
    return Subspace(
        interventions, ModelCard.of(model), (known if factors else None,) * len(made), **{"finder": finder, **fields}
    )


@pytest.fixture(scope="session")
def make_subspace() -> Callable[..., Subspace]:
    """`make_subspace(model, positions, *sites, rank=2, ...)`: an untrained rotation with factors."""
    return _subspace


@pytest.fixture(scope="session")
def coordinates() -> Callable[..., Tensor]:
    """`coordinates(subspace, hidden)`: R^T h of the first placement, (..., rank)."""
    return lambda subspace, hidden: hidden.float() @ subspace.basis().to(hidden.device)


def _logits(model: nn.Module, rows: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    chosen = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0} | kwargs
    out = model.generate(**rows, **chosen, output_logits=True, return_dict_in_generate=True)
    return torch.stack(out.logits, 1), out.sequences[:, rows["input_ids"].shape[1] :]


@pytest.fixture(scope="session")
def generated() -> Callable[..., tuple[Tensor, Tensor]]:
    """`generated(model, rows, **kwargs)`: logits (B, steps, V) and greedy tokens of 5 steps."""
    return _logits
