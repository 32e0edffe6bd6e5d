"""Training on a runner of one's own finds a planted direction, and another objective's label leaves it alone."""

from __future__ import annotations

from functools import partial

import torch

from das.bench.vectors import Vectors, placed
from das.geometry import random_orthonormal
from das.methods.das import das
from das.objectives.counterfactual_ce import CounterfactualCE
from das.seeding import seeded
from das.training.optim import AdamW
from das.training.runner import train_on

WIDTH, PAIRS = 12, 512


def planted(fair: bool) -> tuple[Vectors, torch.Tensor]:
    """A bit along a direction among noise; unfair pairs keep the base's label, so that nothing is to be found."""
    generator = torch.Generator().manual_seed(0)
    basis = random_orthonormal(WIDTH, WIDTH, generator)
    bits = torch.randint(0, 2, (2, PAIRS), generator=generator)
    noise = torch.randn(2, PAIRS, WIDTH, generator=generator)
    noise[:, :, 0] = 2.0 * (2 * bits - 1)
    base, source = noise @ basis.T
    label = bits[1] if fair else bits[0]
    return Vectors(
        base, {"source": source}, lambda h: torch.cat([-h @ basis[:, :1], h @ basis[:, :1]], -1), bits[0], label
    ), basis[:, 0]


def found(fair: bool) -> tuple[float, dict[str, float]]:
    pairs, direction = planted(fair)
    with seeded(0):
        made = placed(das(WIDTH, 1))
    learned = train_on(pairs, made, CounterfactualCE(), partial(pairs.drawn, 32), 120, optimizer=AdamW(lr=0.05))
    assert not learned.learned and not learned.training
    return float((learned[0].featurizer.basis[:, 0] @ direction).abs()), pairs.measure(learned[0])


def test_a_planted_direction_is_found():
    cosine, measured = found(fair=True)
    assert cosine >= 0.95 and measured["iia"] >= 0.99 and measured["iia_changed"] >= 0.99


def test_nothing_is_found_where_nothing_is_to_be_changed():
    """The negative control."""
    cosine, measured = found(fair=False)
    assert cosine <= 0.5 and measured["iia"] >= 0.99
