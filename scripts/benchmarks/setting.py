"""The random Llama, its pairs, and one training step of each side: what most benchmarks share."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from das.batch import PairBatch, Positions
from das.engine.engine import Engine
from das.engine.tiers import Prepared, prepare
from das.engine.together import Together
from das.interventions.sets import InterventionSet
from das.methods.das import das
from das.objectives.counterfactual_ce import CounterfactualCE
from das.training.loss import loss_of, losses_of
from das.types import Site
from tests.engine.pairs import RandomPairs

LAYERS, WIDTH, TOKENS, BATCH, RANK, VOCAB, LAYER = 8, 512, 64, 32, 16, 8000, 4


def llama(layers: int = LAYERS, width: int = WIDTH, vocab: int = VOCAB, context: int = 2 * TOKENS) -> nn.Module:
    """Random, frozen: intermediate 4 x width, 8 heads, 4 key/value heads."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=context, pad_token_id=0, use_cache=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).requires_grad_(False).eval()


@dataclass(frozen=True)
class AtPosition:
    """Random pairs written and read at one column, labels after the last token."""

    position: int
    rows: int = 2 * BATCH
    tokens: int = TOKENS
    seed: int = 0

    def __len__(self) -> int:
        return self.rows

    def collate(self, rows: Sequence[int]) -> PairBatch:
        """All rows equally long."""
        pairs = RandomPairs(
            self.rows, [["source"]], written="last", tokens=self.tokens, ragged=False, vocab=VOCAB, seed=self.seed
        )
        batch = pairs.collate(rows)
        where = Positions(torch.full((len(rows), 1), self.position), torch.ones(len(rows), 1, dtype=torch.bool))
        return replace(batch, writes=(where,), reads=({"source": where},))


@dataclass(frozen=True)
class Ours:
    """das: prepared, with its interventions and optimiser."""

    prepared: Prepared
    interventions: InterventionSet
    batch: PairBatch
    optimizer: torch.optim.Optimizer
    objective: Any = field(default_factory=CounterfactualCE)

    def loss(self) -> Tensor:
        """Of the batch."""
        return loss_of(self.objective, self.prepared, self.batch, self.interventions, 0.5)[0].total

    def step(self) -> None:
        """As the LightningModule takes it."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.interventions.project_gradient()
        self.optimizer.step()
        self.interventions.retract()


def step_together(cells: Sequence[Ours]) -> None:
    """One step of each in a joint pass, as `das.training.together` takes it."""
    for cell in cells:
        cell.optimizer.zero_grad(set_to_none=True)
    found = losses_of(
        [c.objective for c in cells], Together([c.prepared for c in cells]), [c.batch for c in cells],
        [c.interventions for c in cells], 0.5, [nullcontext] * len(cells),
    )  # fmt: skip
    torch.stack([loss.total for loss, _ in found]).sum().backward()
    for cell in cells:
        cell.interventions.project_gradient()
        cell.optimizer.step()
        cell.interventions.retract()


def ours(model: nn.Module, data: Any, rank: int = RANK, tier: str = "all", layer: int = LAYER) -> Ours:
    """DAS at the output of a block."""
    interventions = InterventionSet([(Site(layer), das(WIDTH, rank))])
    prepared = prepare(Engine(model, interventions.placements), data, tier=tier)
    batch = data.collate(range(BATCH))
    return Ours(prepared, interventions, batch, torch.optim.AdamW(interventions.parameters(), lr=1e-3, weight_decay=0))


class Pyvene:
    """pyvene's training step on the same batch.

    Args:
        model: the same model.
        made: a pyvene intervention.
        batch: das' batch.
        layer: the block.
    """

    def __init__(self, model: nn.Module, made: Any, batch: PairBatch, layer: int = LAYER) -> None:
        import pyvene as pv

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            represented = [{"layer": layer, "component": "block_output", "unit": "pos", "intervention": made}]
            self.wrapped = pv.IntervenableModel(represented, model)
        self.made, self.batch = made, batch
        columns = batch.writes[0].index.tolist()
        self.where = {"sources->base": ([columns], [columns])}
        self.optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3, weight_decay=0)

    def loss(self) -> Tensor:
        """Cross-entropy of the label at the label position."""
        base, [source] = _inputs(self.batch.base), [_inputs(s) for s in self.batch.sources.values()]
        logits = self.wrapped(base, [source], self.where)[1].logits
        at = self.batch.label_positions[:, 0]
        return F.cross_entropy(logits[torch.arange(len(at)), at].float(), self.batch.label_ids[:, 0])

    def step(self) -> None:
        """Forward, backward, optimiser."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimizer.step()


def _inputs(tokens: Any) -> Mapping[str, Tensor]:
    return {"input_ids": tokens.ids, "attention_mask": tokens.mask.long(), "position_ids": tokens.position_ids}


def low_rank(rank: int = RANK, width: int = WIDTH) -> Any:
    """pyvene's low-rank rotation."""
    import pyvene as pv

    return pv.LowRankRotatedSpaceIntervention(embed_dim=width, low_rank_dimension=rank)


def rotation_gradients(theirs: Pyvene, mine: Ours) -> dict[str, tuple[Tensor, Tensor]]:
    """Losses and the gradients along the manifold of the same rotation, theirs first."""
    with torch.no_grad():
        weight = mine.interventions[0].featurizer.weight
        weight.copy_(theirs.made.rotate_layer.weight[:, : weight.shape[1]])
    with parametrize.cached():
        theirs.made.rotate_layer.weight.retain_grad()
        wanted = theirs.loss()
        wanted.backward()
        full = theirs.made.rotate_layer.weight.grad
    loss = mine.loss()
    [got] = torch.autograd.grad(loss, [weight])
    rotation = theirs.made.rotate_layer.weight.detach()
    theirs.optimizer.zero_grad(set_to_none=True)
    got = torch.cat([got, got.new_zeros(len(got), rotation.shape[1] - got.shape[1])], 1)
    return {"loss": (wanted.detach(), loss.detach()), "gradient": (tangent(rotation, full), tangent(rotation, got))}


def tangent(rotation: Tensor, gradient: Tensor) -> Tensor:
    """The part of a gradient along the manifold of orthonormal columns."""
    inner = rotation.T @ gradient
    return gradient - rotation @ (inner + inner.T) / 2


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what it returned."""
    import time

    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found
