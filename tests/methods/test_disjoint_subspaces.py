"""MDAS and the anchored subspace on a planted model: two bits on orthogonal axes, each with a query of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from das.batch import PairBatch
from das.edits.swap import Swap
from das.errors import InputError
from das.estimators.base import Examples
from das.featurizers.oriented import Oriented
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet, Placement
from das.methods.anchored import Anchored
from das.methods.das import das
from das.methods.mdas import mdas
from das.objectives.base import Objective
from das.objectives.cause_isolate import CauseIsolate
from das.objectives.counterfactual_ce import CounterfactualCE
from das.outputs import Outputs
from das.training.optim import AdamW
from das.training.runner import train_on
from das.types import Site
from tests.contracts.test_objectives import batch_of

WIDTH, PAIRS, STEPS = 12, 512, 150


class TwoBits:
    """h = 2 b_1 v_1 + 2 b_2 v_2 + nuisance; query q reads the sign of v_q.h. Pairs swap the bit `about` of a source."""

    def __init__(self, names: tuple[str, str], isolate: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
        self.names, self.axes, self.offset = names, basis[:, :2], basis[:, 2]
        self.nuisance, self.generator = basis[:, 2:], generator
        bits = torch.randint(0, 2, (2, PAIRS, 2), generator=generator)
        self.base, self.source = (self.states(b) for b in bits)
        self.about, asked = torch.randint(0, 2, (2, PAIRS), generator=generator)
        self.asked = asked if isolate else self.about
        base, source = (b.gather(1, self.asked[:, None])[:, 0] for b in bits)
        self.label = torch.where(self.asked == self.about, source, base)
        self.changed = self.label != base

    def states(self, bits: Tensor) -> Tensor:
        noise = torch.randn(len(bits), WIDTH - 2, generator=self.generator)
        return 2.0 * (2 * bits - 1).float() @ self.axes.T + noise @ self.nuisance.T + 2 * self.offset

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float = 1.0) -> Outputs:
        rows = batch.rows
        base, source, about = self.base[rows][:, None], self.source[rows][:, None], self.about[rows][:, None, None]
        sources = {name: torch.where(about == i, source, base) for i, name in enumerate(self.names)}
        h = interventions[0](base, {**sources, "source": source}).activation
        score = (h @ self.axes).gather(-1, self.asked[rows][:, None, None])
        return Outputs(4.0 * torch.cat([-score, score], -1))

    def batch(self, rows: Tensor) -> PairBatch:
        plain = batch_of(torch.ones(len(rows), 1, dtype=torch.bool))
        return replace(plain, rows=rows, label_ids=self.label[rows][:, None], changed=self.changed[rows])

    def accuracy(self, interventions: InterventionSet) -> float:
        everything = self.batch(torch.arange(PAIRS))
        with torch.no_grad():
            picked = self.outputs(everything, interventions).logits[:, 0].argmax(-1)
        return float((picked == self.label).float().mean())

    def train(self, made: Intervention, objective: Objective) -> InterventionSet:
        placed = InterventionSet([(Placement(Site(0), dict.fromkeys(made.edit.sources, Site(0))), made)])
        generator = torch.Generator().manual_seed(1)
        batches = [self.batch(torch.randint(0, PAIRS, (32,), generator=generator)) for _ in range(STEPS)]
        return train_on(self, placed, objective, batches.__getitem__, STEPS, optimizer=AdamW(lr=0.04))


def test_mdas_gives_each_attribute_its_own_subspace():
    model = TwoBits(("first", "second"), isolate=True)
    found = model.train(mdas(WIDTH), CauseIsolate())
    cosines = found[0].featurizer.basis.T @ model.axes
    assert model.accuracy(found) >= 0.99
    assert torch.allclose(cosines.abs(), torch.eye(2), atol=0.15), "axis i causes attribute i and no other"
    assert found.invariants() == {"0/orthonormal": pytest.approx(0, abs=1e-5)}


def test_one_direction_cannot_hold_two_attributes():
    """The negative control: the same pairs, and one direction for whatever they are about."""
    model = TwoBits(("first", "second"), isolate=True)
    one = model.train(das(WIDTH, 1), CauseIsolate())
    assert model.accuracy(one) <= 0.8


def anchors(model: TwoBits) -> Examples:
    """Prompts with only the first bit (off), and prompts with only the second (on), around a common offset."""
    noise = 0.1 * torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(2))
    only = torch.cat([-2.0 * model.axes[:, :1].T.expand(30, -1), 2.0 * model.axes[:, 1:].T.expand(30, -1)])
    return Examples.of(only + 2 * model.offset + noise, torch.tensor([1] * 30 + [0] * 30))


def test_the_anchored_axes_are_found_and_point_to_their_anchors():
    model = TwoBits(("prior", "context"), isolate=False)
    made, wanted = Anchored().fit(anchors(model)), model.axes * torch.tensor([-1.0, 1.0])
    started = (made.featurizer.basis.detach() * wanted).sum(0)
    assert (started > 0).all() and (started < 0.9).all(), "the anchors alone do not find the axes"
    found = model.train(made, CounterfactualCE())
    assert ((found[0].featurizer.basis * wanted).sum(0) >= 0.95).all()
    assert model.accuracy(found) >= 0.99
    own = found[0].coordinates(anchors(model).x[:, None])[:, 0]
    assert (own[:30, 0] > 1).all() and (own[30:, 1] > 1).all(), "coordinates have a sign that can be read"


def test_one_axis_is_not_enough_for_two_kinds_of_knowledge():
    model = TwoBits(("prior", "context"), isolate=False)
    assert model.accuracy(model.train(das(WIDTH, 1), CounterfactualCE())) <= 0.8


def test_anchors_that_span_no_plane_are_refused():
    x = torch.ones(8, WIDTH) * torch.tensor([1.0, 2.0] * 4)[:, None]
    with pytest.raises(InputError, match="parallel"):
        Anchored().fit(Examples.of(x, torch.arange(8) % 2))


def test_orientation_changes_what_is_read_and_not_what_is_swapped():
    basis = torch.linalg.qr(torch.randn(WIDTH, 2))[0]
    up, down = (Oriented(WIDTH, 2, sign * basis.T, basis) for sign in (1.0, -1.0))
    h, source = torch.randn(2, 3, 4, WIDTH)
    z = [Intervention(x, Swap()).coordinates(h) for x in (up, down)]
    assert torch.equal(z[0], -z[1]) and torch.allclose(z[0], h @ basis, atol=1e-6)
    swapped = [Intervention(x, Swap())(h, {"source": source}).activation for x in (up, down)]
    assert torch.allclose(*swapped, atol=1e-6)
    with pytest.raises(InputError, match="anchor"):
        Oriented(WIDTH, 2, torch.zeros(3, WIDTH))
