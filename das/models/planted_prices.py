"""A small Llama that tags prices through two planted bits (interchange intervention training).

Three blocks of width 64, trained on prompts of `price_tagging_mini`. The output of block 1 at the last token carries
left = [amount >= lower] and right = [amount <= upper] in a random subspace each, and nothing else that matters there
(`das.models.iit`). A net of this size trained on the task alone does not keep these variables apart anywhere. Prices
start as points on a smooth curve: the order of 32 tokens would else take most of the training.

Shapes     subspaces (64, rank), orthogonal to one another
Cost       about 20 seconds on one core
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.geometry import random_orthonormal
from das.models.iit import Schedule, plant
from das.models.recipes.base import Planted, Recipe, Report, isolated
from das.models.small import small_llama
from das.models.word_tokenizer import BOS, SPECIAL, word_tokenizer
from das.shapes import Basis, Ids
from das.tasks.prices import GRIDS
from das.types import Site

WIDTH, LAYER, SEED = 64, 1, 0
VARIABLES = ("left", "right")
SCHEDULE = Schedule(steps=450, lr=3e-3)
BATCH = 192
GRID = GRIDS["mini"]
PRICES = tuple(GRID.text(price) for price in range(GRID.amounts[0], GRID.amounts[1] + 1))
LABELS = ("Yes", "No")
CONTEXT = 16
#: Cosines of a price that its embedding starts with, and how much of a random vector it has besides.
CURVE, NOISE = 8, 0.1


def prices_config() -> LlamaConfig:
    """The architecture."""
    size = len(SPECIAL) + len(PRICES) + 1 + len(LABELS)
    return small_llama(size, CONTEXT, hidden_size=WIDTH, intermediate_size=64)


def prices_tokenizer() -> PreTrainedTokenizerFast:
    """Prices, the equals sign, the answers."""
    return word_tokenizer([*PRICES, "=", *LABELS], CONTEXT)


def prices_recipe(title: str, module: str, rank: int) -> Recipe:
    """The recipe of a model with each variable in `rank` dimensions, made in `module`."""

    def planted() -> Mapping[str, Planted]:
        return {name: Planted(Site(LAYER, positions="last"), basis) for name, basis in _bases(rank).items()}

    return Recipe(
        title, prices_config, prices_tokenizer, lambda words, report: _trained(words, _bases(rank), report),
        (module, __name__, "das.models.iit", "das.models.small", "das.models.word_tokenizer", "das.tasks.prices"),
        SCHEDULE.steps, planted,
    )  # fmt: skip


def _bases(rank: int) -> dict[str, Basis]:
    """Variable -> its subspace, (64, rank)."""
    both = random_orthonormal(WIDTH, rank * len(VARIABLES), torch.Generator().manual_seed(SEED))
    return dict(zip(VARIABLES, both.split(rank, dim=1), strict=True))


def _trained(words: PreTrainedTokenizerFast, bases: Mapping[str, Basis], report: Report) -> LlamaForCausalLM:
    """Trained from scratch."""
    ids = dict(zip((*PRICES, "=", *LABELS), words.convert_tokens_to_ids([*PRICES, "=", *LABELS]), strict=True))
    yes, no = (ids[label] for label in LABELS)

    def answer(values: Mapping[str, Tensor]) -> Tensor:
        return torch.where(values["left"] & values["right"], yes, no)

    with isolated(SEED):
        model = LlamaForCausalLM(prices_config())
        with torch.no_grad():
            model.model.embed_tokens.weight[[ids[price] for price in PRICES]] = _curve()
        return plant(model, LAYER, bases, lambda: _draw(ids["0"], ids["="]), answer, SCHEDULE, report)


def _curve() -> Float[Tensor, "price width"]:
    """Every price as a point on a curve, and a little noise."""
    x = torch.linspace(-1, 1, len(PRICES))[:, None]
    waves = [x, *(torch.cos(math.pi * k * (x + 1) / 2) for k in range(1, CURVE))]
    return torch.cat(waves, 1) @ random_orthonormal(WIDTH, CURVE).T + NOISE * torch.randn(len(PRICES), WIDTH)


def _draw(zero: int, equals: int) -> tuple[Ids, dict[str, Tensor]]:
    """Prompts with the amount below, between and above the bounds equally often."""
    width = torch.randint(GRID.widths[0], GRID.widths[1] + 1, (BATCH,))
    lower = GRID.bounds[0] + _below(GRID.bounds[1] - GRID.bounds[0] - width + 1)
    upper = lower + width
    region, last = torch.randint(3, (BATCH,)), GRID.amounts[1]
    start = torch.stack([torch.zeros_like(lower), lower, upper + 1])[region, torch.arange(BATCH)]
    end = torch.stack([lower, upper + 1, torch.full_like(lower, last + 1)])[region, torch.arange(BATCH)]
    amount = start + _below(end - start)
    columns = [torch.full_like(lower, BOS), zero + lower, zero + upper, zero + amount, torch.full_like(lower, equals)]
    return torch.stack(columns, 1), {"left": amount >= lower, "right": amount <= upper}


def _below(limit: Tensor) -> Tensor:
    """Uniform integers from 0 to below each limit."""
    return (torch.rand(len(limit)) * limit).long()
