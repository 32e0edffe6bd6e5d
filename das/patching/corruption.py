"""How the corrupted run is made: other tokens in the prompt (STR), or noise on its embeddings (GN).

Replacement    the pair's source prompt, as long as the base: the corrupted run stays in distribution (recommended
               by arXiv 2309.16042, and the default)
Noise          e' = e + nu n, n ~ N(0, 1), at some tokens; nu = sigmas times the standard deviation of all entries of
               all token embeddings of the prompts (arXiv 2202.05262 has 3)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from das.batch import Positions
from das.engine.hooks import gather_positions, put_positions, spliced
from das.models.families import BoundSite, ModelView
from das.types import Site


@dataclass(frozen=True)
class Replacement:
    """Symmetric token replacement: the corrupted prompt is the pair's source."""

    def __str__(self) -> str:
        return "the source's tokens"


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on token embeddings of the clean prompt.

    Attributes:
        positions: which tokens, in the grammar of `das.data.positions`.
        sigmas: standard deviations of the prompts' token embeddings.
        seed: every pair has its own noise, whatever the batches.
    """

    positions: str
    sigmas: float = 3.0
    seed: int = 0

    def __str__(self) -> str:
        return f"noise of {self.sigmas:g} standard deviations at {self.positions} (seed {self.seed})"


Corruption = Replacement | Noise


def embedding_site(view: ModelView) -> BoundSite:
    """The output of the input embedding."""
    embedding = _embedding(view)
    path = next(name for name, module in view.model.named_modules() if module is embedding)
    return view.bind(Site(None, path))


@torch.no_grad()
def noise_scale(view: ModelView, prompts: Sequence[Sequence[int]], sigmas: float) -> float:
    """nu: `sigmas` times the standard deviation of all entries of all token embeddings of the prompts."""
    ids = torch.tensor([i for prompt in prompts for i in prompt], device=view.device)
    return sigmas * float(_embedding(view)(ids).float().std())


def draw(noise: Noise, scale: float, rows: Sequence[int], tokens: int, width: int) -> Tensor:
    """Noise (B, tokens, width) of these pairs, a function of (seed, pair)."""
    generators = [torch.Generator().manual_seed(noise.seed * 1_000_003 + row) for row in rows]
    return scale * torch.stack([torch.randn(tokens, width, generator=g) for g in generators])


@contextmanager
def noised(site: BoundSite, where: Positions, values: Tensor) -> Iterator[None]:
    """Every forward inside adds `values` (B, P, width) to the site's output."""

    def add(hidden: Tensor) -> Tensor:
        h = gather_positions(hidden, where.index)
        return put_positions(hidden, where.index, where.mask, h + values.to(h))

    with spliced([(site, add)], expected=None):
        yield


def _embedding(view: ModelView) -> nn.Module:
    found: nn.Module = view.model.get_input_embeddings()  # type: ignore[operator]
    return found
