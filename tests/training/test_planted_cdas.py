"""CDAS on the planted toy (arXiv 2602.05234; a frozen tanh readout that sees 8 of 24 dimensions, one of them v*).

With nuisance drawn per example the direction is identified; with a nuisance shift that is the same in every example it
is not, and the part of v that the readout cannot see says so. Both directions of every pair are trained in one step.
"""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from das.batch import PairBatch, Positions, TokenBatch
from das.interventions.sets import InterventionSet
from das.methods.cdas import cdas
from das.methods.random_subspace import random_subspace
from das.objectives.jsd import JSD
from das.outputs import Outputs
from das.training.optim import AdamW
from das.training.runner import train_on
from das.types import Site

WIDTH, SEEN, VOCAB, PAIRS, STEPS = 24, 8, 10, 512, 250


class Toy:
    """The planted model and its pairs; runs interventions on activations it makes itself."""

    def __init__(self, seed: int, constant: bool) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        basis = torch.linalg.qr(normal(WIDTH, WIDTH))[0]
        seen, null = basis[:, :SEEN], basis[:, SEEN:]
        self.direction, self.null = seen[:, 0], null
        self.readout = nn.Sequential(nn.Linear(WIDTH, 32, bias=False), nn.Tanh(), nn.Linear(32, VOCAB))
        self.readout[0].weight.data = normal(32, SEEN) @ seen.T / SEEN**0.5 * 1.5
        self.readout[2].weight.data = normal(VOCAB, 32) * 0.6
        self.readout.requires_grad_(False)
        shared = normal(PAIRS, SEEN - 1) @ seen[:, 1:].T
        shift = normal(1, WIDTH - SEEN).expand(PAIRS, -1) if constant else None

        def side(mean: float, positive: bool) -> torch.Tensor:
            concept = (mean + 0.5 * normal(PAIRS, 1)) * self.direction
            if shift is not None:
                return shared + concept + (shift @ null.T if positive else 0.0)
            bias = 0.4 if positive else -0.4
            return shared + concept + (normal(PAIRS, WIDTH - SEEN) + bias * normal(1, WIDTH - SEEN)) @ null.T

        self.negative, self.positive = side(-1.5, False), side(1.5, True)

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float) -> Outputs:
        pair, elicit = batch.rows // 2, (batch.rows % 2 == 0)[:, None]
        base = torch.where(elicit, self.negative[pair], self.positive[pair])
        source = torch.where(elicit, self.positive[pair], self.negative[pair])
        edited = interventions.interventions[0](base[:, None], {"source": source[:, None]}).activation
        return Outputs(self.readout(edited), {"target": self.readout(source[:, None])})


def rows_batch(rows: torch.Tensor) -> PairBatch:
    n = len(rows)
    one = torch.zeros(n, 1, dtype=torch.long)
    tokens, where = TokenBatch(one, one == 0), Positions(one, one == 0)
    return PairBatch(
        base=tokens, sources={"source": tokens}, writes=(where,), reads=({"source": where},), label_positions=one,
        label_ids=one, label_mask=one == 0, rows=rows, changed=torch.ones(n, dtype=torch.bool), target="source",
        target_positions=one,
    )  # fmt: skip


class Batches(pl.LightningDataModule):
    """Batches in a fixed order, which Lightning leaves alone."""

    def __init__(self, batches: list[PairBatch]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Listed:
        return Listed(self.batches)

    def transfer_batch_to_device(self, batch: PairBatch, device: torch.device, dataloader_idx: int) -> PairBatch:
        return batch.to(device)


class Listed:
    """An iterable that Lightning does not take for a collection of loaders."""

    def __init__(self, batches: list[PairBatch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def learn(toy: Toy, seed: int, parametrization: str) -> tuple[torch.Tensor, float]:
    torch.manual_seed(seed)
    learned = InterventionSet([(Site(0), cdas(WIDTH, 1, parametrization))])
    generator = torch.Generator().manual_seed(seed)
    quads = [torch.randint(0, PAIRS, (16,), generator=generator) for _ in range(STEPS)]
    batches = [rows_batch(torch.stack([2 * q, 2 * q + 1], 1).flatten()) for q in quads]
    train_on(toy, learned, JSD(), batches.__getitem__, STEPS, optimizer=AdamW(lr=0.04))
    everything = rows_batch(torch.arange(2 * PAIRS))
    with torch.no_grad():
        loss = JSD()(toy.outputs(everything, learned, 1.0), everything).total
    return learned.interventions[0].featurizer.basis[:, 0].detach(), float(loss)


@pytest.mark.parametrize(("seed", "parametrization"), [*((s, "retract") for s in range(4)), (0, "qr")])
def test_recovers_the_planted_direction(seed, parametrization):
    toy = Toy(seed, constant=False)
    direction, loss = learn(toy, seed, parametrization)
    difference = nn.functional.normalize((toy.positive - toy.negative).mean(0), dim=0)
    assert abs(float(direction @ toy.direction)) >= 0.999
    assert loss < 1e-5
    assert abs(float(difference @ toy.direction)) < 0.99, "the toy must separate CDAS from the difference in means"


@pytest.mark.parametrize("seed", range(2))
def test_a_constant_nuisance_is_not_identifiable_and_shows_in_the_null_component(seed):
    toy = Toy(seed, constant=True)
    direction, loss = learn(toy, seed, "retract")
    everything = rows_batch(torch.arange(2 * PAIRS))
    chance = InterventionSet([(Site(0), random_subspace(WIDTH, 1, seed))])
    with torch.no_grad():
        random_loss = float(JSD()(toy.outputs(everything, chance, 1.0), everything).total)
    assert loss <= 0.01 * random_loss, "the swap works all the same"
    assert float((toy.null.T @ direction).square().sum()) > 0.02
    assert abs(float(direction @ toy.direction)) < 0.995


def test_both_directions_count_the_same():
    toy = Toy(0, constant=False)
    learned = InterventionSet([(Site(0), cdas(WIDTH, 1))])

    def loss(rows: torch.Tensor) -> float:
        batch = rows_batch(rows)
        return float(JSD()(toy.outputs(batch, learned, 1.0), batch).total.detach())

    elicit, suppress = loss(torch.arange(0, 64, 2)), loss(torch.arange(1, 64, 2))
    assert abs(elicit - suppress) > 1e-4, "negative control: one direction alone is another loss"
    assert loss(torch.arange(64)) == pytest.approx((elicit + suppress) / 2, rel=1e-5)
