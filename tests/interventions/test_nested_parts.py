"""Parts made of other parts: what the inner ones ask for is done, without the outer ones passing it on."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

from das.context import Context
from das.edits.add import Add
from das.edits.base import Calibrated, Edit, Valued
from das.featurizers.anchored_rotation import AnchoredRotation
from das.featurizers.base import Featurizer, LinearFrame, Spanning
from das.featurizers.rotation import Rotation
from das.gates.base import Selective
from das.geometry import orthonormality_residual
from das.interventions.base import Intervention
from das.interventions.serial import known
from das.interventions.sets import InterventionSet
from das.part import Constrained, Grouped, Penalised, groups_of
from das.training.optim import AdamW
from das.types import Site

WIDTH, RANK, NAN = 7, 2, float("nan")


class Scaled(Featurizer):
    """Coordinates of another featurizer, each times a number of its own."""

    def __init__(self, inner: Featurizer) -> None:
        super().__init__()
        self.inner, self.width, self.rank = nn.ModuleList([inner]), inner.width, inner.rank
        self.scale = nn.Parameter(torch.ones(inner.rank))

    def frame(self, ctx: Context) -> LinearFrame:
        frame = self.inner[0].frame(ctx)
        return LinearFrame(frame.read * self.scale, frame.write / self.scale)

    def params(self) -> dict[str, Any]:
        return {}


class Turned(Edit):
    """Coordinates turned by a learned rotation."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.turn = Rotation(rank, rank)

    def forward(self, z, h, sources, ctx):
        return z @ self.turn.basis, {}

    def params(self) -> dict[str, Any]:
        return {}


class Stated(nn.Module, Constrained):
    """States a number."""

    def __init__(self, violation: float) -> None:
        super().__init__()
        self.violation = violation

    def invariants(self) -> dict[str, float]:
        return {"stated": self.violation}


def made() -> InterventionSet:
    return InterventionSet([(Site(0), Intervention(Scaled(Rotation(WIDTH, RANK)), Turned(RANK)))])


def rotations(interventions: InterventionSet) -> list[Rotation]:
    return [m for m in interventions.modules() if isinstance(m, Rotation)]


def test_nested_rotations_stay_on_their_manifold():
    interventions = made()
    assert len(rotations(interventions)) == 2
    optimizer, _ = AdamW(lr=0.1).build(interventions, 10)
    h, goal = torch.randn(2, 4, 1, WIDTH)
    (interventions[0](h).activation - goal).square().mean().backward()
    assert max(not_tangent(r) for r in rotations(interventions)) > 1e-3, "negative control"
    interventions.project_gradient()
    assert max(not_tangent(r) for r in rotations(interventions)) <= 1e-6
    optimizer.step()
    assert interventions.invariants()["0/orthonormal"] > 1e-2, "negative control: the step left the manifold"
    interventions.retract()
    assert max(orthonormality_residual(r.weight) for r in rotations(interventions)) <= 1e-6


def not_tangent(r: Rotation) -> float:
    inner = r.weight.detach().T @ r.weight.grad
    return float((inner + inner.T).abs().max())


def test_nested_rotations_are_not_decayed_and_what_surrounds_them_is():
    interventions = made()
    optimizer, _ = AdamW(lr=0.1, weight_decay=0.5).build(interventions, 10)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert [decay[id(r.weight)] for r in rotations(interventions)] == [0.0, 0.0]
    assert decay[id(interventions[0].featurizer.scale)] == 0.5
    assert len(decay) == len(list(interventions.parameters()))


def test_nested_prices_are_paid():
    x = Intervention(Scaled(AnchoredRotation(WIDTH, RANK, weight=2.0)), Add(RANK))
    anchored = x.featurizer.inner[0]
    anchored.anchor.neg_()
    paid = x(torch.zeros(1, 1, WIDTH)).aux["penalty/anchor"]
    assert float(paid.detach()) == pytest.approx(2.0 * 4 * RANK)


def test_common_words_inside_of_a_part_are_no_promises():
    """`nn.Conv1d` has `groups`, and is not asked how its parameters learn."""
    x = Intervention(Rotation(WIDTH, RANK), Turned(RANK))
    x.edit.smooth = nn.Conv1d(RANK, RANK, 1)
    grouped = [p for group in groups_of(x) for p in group.parameters]
    assert {id(p) for p in grouped} == {id(p) for p in x.parameters() if p.requires_grad}


@pytest.mark.parametrize("kind", ["featurizer", "edit", "gate", "conditioner"])
def test_parts_that_can_say_that_they_can(kind):
    """A part of das with the method of a capability inherits it."""
    capabilities = {
        "penalties": Penalised, "groups": Grouped, "invariants": Constrained, "basis": Spanning, "support": Selective,
        "calibrated": Calibrated, "at": Valued,
    }  # fmt: skip
    for name in known(kind):
        module, _, cls = name.partition(":")
        part = getattr(importlib.import_module(module), cls)
        for method, capability in capabilities.items():
            assert hasattr(part, method) == issubclass(part, capability), (name, method)


def test_prices_of_one_name_are_summed():
    x = Intervention(Scaled(AnchoredRotation(WIDTH, RANK, weight=2.0)), Turned(RANK))
    x.edit.more = AnchoredRotation(WIDTH, RANK, weight=1.0)
    x.featurizer.inner[0].anchor.neg_()
    x.edit.more.anchor.neg_()
    paid = x(torch.zeros(1, 1, WIDTH)).aux["penalty/anchor"]
    assert float(paid.detach()) == pytest.approx((2.0 + 1.0) * 4 * RANK)


@pytest.mark.parametrize(
    ("stated", "worst"),
    [((0.5, 2.0, 1.0), 2.0), ((NAN, 2.0), NAN), ((2.0, NAN), NAN)],
    ids=["largest", "first", "last"],
)
def test_of_several_violations_the_worst_is_told(stated, worst):
    x = Intervention(Rotation(WIDTH, RANK), Add(RANK))
    x.edit.more = nn.ModuleList(map(Stated, stated))
    assert x.invariants()["stated"] == pytest.approx(worst, nan_ok=True)
