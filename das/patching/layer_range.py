"""The range of layers whose attention (or another component) carries the answer: `das.patching.search` on a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from das.data.encode import Encoder
from das.data.placing import Where
from das.data.tokenize import Tokenizer
from das.distributions import log_probs
from das.engine.engine import Engine
from das.engine.read import SourceState
from das.interventions.sets import InterventionSet
from das.methods.full_vector import full_vector
from das.models.families import ModelView
from das.models.load import load_tokenizer
from das.patching.prompts import Patchable, dataset, patchable
from das.patching.search import LayerRange, Lens, Search, search
from das.patching.sites import grid
from das.tasks.base import Task
from das.types import SOURCE, CounterfactualPair, Site


def layer_range(
    model: nn.Module,
    pairs: Task | Sequence[CounterfactualPair],
    *,
    component: str = "attention_output",
    positions: str = "last",
    settings: Search | None = None,
    n: int = 64,
    split: str = "test",
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
    batch_size: int = 32,
) -> LayerRange:
    """Find the range of layers that decides between a base and its source.

    Args:
        model: a frozen causal LM.
        pairs: a task, or pairs whose target source has an answer of its own.
        component, positions: what is patched, the same in every layer.
        settings: thresholds.
        n, split, seed: which of a task's pairs.
        tokenizer, batch_size: the model's own by default; pairs per forward.

    Raises:
        CapabilityError: not even all layers suffice, or pairs whose source is not itself the counterfactual.
        EmptySplitError: no pair with two answers and prompts of equal length.
    """
    encoder = Encoder.of(model, load_tokenizer(model) if tokenizer is None else tokenizer)
    given = pairs.pairs(split, n, seed) if isinstance(pairs, Task) else list(pairs)
    items = patchable(given, encoder, replace=True)
    chunks = [items[i : i + batch_size] for i in range(0, len(items), batch_size)]
    lenses = [_Chunk(model, chunk, encoder, component, positions) for chunk in chunks]

    def patched(layers: tuple[int, ...]) -> Lens:
        summed = sum((one.lens(layers) for one in lenses), torch.zeros(()))
        source, base = (summed / len(items)).tolist()
        return Lens(source, base)

    return search(patched, ModelView(model).n_layers, settings)


class _Chunk:
    """A batch of pairs whose sources have been read in every layer."""

    def __init__(
        self, model: nn.Module, items: Sequence[Patchable], encoder: Encoder, component: str, positions: str
    ) -> None:
        self.view, sites = ModelView(model), grid(model, [component], [positions])
        self.swaps = [(site, full_vector(self.view.bind(site).width)) for site in sites]
        self.watch = [Site(layer, "block_output") for layer in range(self.view.n_layers)]
        placed = InterventionSet(self.swaps).placements
        where = [Where(site.positions, {SOURCE: site.positions}) for site in sites]
        data = dataset(items, encoder, [*where, *(Where(s.positions, {}) for s in self.watch)], denoise=False)
        self.batch = data.collate(range(len(data))).to(self.view.device)
        self.sources = Engine(model, placed).sources(self.batch)
        self.answers = [torch.tensor([getattr(i, name) for i in items]) for name in ("other", "answer")]

    @torch.no_grad()
    def lens(self, layers: tuple[int, ...]) -> torch.Tensor:
        """Probabilities after every block, summed over pairs: of the source's and of the base's answer, (2, layers)."""
        swaps = InterventionSet([self.swaps[i] for i in layers]).to(self.view.device).eval()
        engine, n = Engine(self.view.model, swaps.placements, self.watch), len(self.swaps)
        writes, reads = self.batch.writes, self.batch.reads
        batch = replace(
            self.batch, writes=(*(writes[i] for i in layers), *writes[n:]), reads=tuple(reads[i] for i in layers)
        )
        read = SourceState(tuple(self.sources.reads[i] for i in layers), {})
        after = [watched.activation for watched in engine.outputs(batch, swaps, read).watched]
        logits = torch.stack([engine.head_logits(self.view.final_norm(h))[:, 0] for h in after], 1)
        p = log_probs(logits).exp().double().cpu()
        return torch.stack([p.gather(-1, ids[:, None, None].expand(-1, n, 1)).sum((0, 2)) for ids in self.answers])
