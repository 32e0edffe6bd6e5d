"""Training on the manifold: gradients are made tangent before a step, parameters are returned to it after."""

from __future__ import annotations

import pytest
import torch

from das.context import Context
from das.errors import InputError
from das.featurizers.direction import Direction
from das.featurizers.rotation import Rotation
from das.geometry import orthonormality_residual

WIDTH, RANK = 11, 3


def rotation(parametrization: str = "retract") -> Rotation:
    """With a gradient that is not tangent."""
    made = Rotation(WIDTH, RANK, parametrization)  # type: ignore[arg-type]
    made.weight.grad = torch.randn(WIDTH, RANK)
    return made


def symmetric_part(r: torch.Tensor, g: torch.Tensor) -> float:
    inner = r.T @ g
    return float(((inner + inner.T) / 2).abs().max())


@torch.no_grad()
def test_the_projected_gradient_is_tangent():
    made = rotation()
    before, r = made.weight.grad.clone(), made.weight
    assert symmetric_part(r, before) > 0.1, "negative control: it was not tangent"
    made.project_gradient()
    after = made.weight.grad
    assert symmetric_part(r, after) <= 1e-6
    skew = (r.T @ before - before.T @ r) / 2
    assert torch.allclose(r.T @ after, skew, atol=1e-6), "the antisymmetric part is kept"
    outside = torch.eye(WIDTH) - r @ r.T
    assert torch.allclose(outside @ after, outside @ before, atol=1e-6), "and so is what leaves the subspace"


@torch.no_grad()
def test_projecting_twice_is_projecting_once():
    made = rotation()
    made.project_gradient()
    once = made.weight.grad.clone()
    made.project_gradient()
    assert torch.allclose(made.weight.grad, once, atol=1e-6)


@torch.no_grad()
def test_qr_has_no_manifold_to_stay_on():
    made = rotation("qr")
    weight, gradient = made.weight.clone(), made.weight.grad.clone()
    made.weight.mul_(2.0)
    made.project_gradient()
    made.retract()
    assert torch.equal(made.weight.grad, gradient) and torch.equal(made.weight, 2.0 * weight)


def test_without_a_gradient_there_is_nothing_to_project():
    for made in (Rotation(WIDTH, RANK), Direction(WIDTH)):
        made.project_gradient()
        assert all(p.grad is None for p in made.parameters())


@torch.no_grad()
def test_retract_returns_to_the_manifold():
    made = Rotation(WIDTH, RANK)
    made.weight.add_(0.1 * torch.randn(WIDTH, RANK))
    assert orthonormality_residual(made.weight) > 0.05
    made.retract()
    assert orthonormality_residual(made.weight) <= 1e-6


def test_a_tangent_step_is_what_lowers_the_loss():
    """Gradient descent with projection and retraction finds the leading eigenspace."""
    spectrum = torch.diag(torch.arange(WIDTH, 0, -1.0))
    made = Rotation(WIDTH, RANK)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (-(made.basis.T @ spectrum @ made.basis).trace()).backward()
        made.project_gradient()
        optimizer.step()
        made.retract()
    top = made.basis[:RANK].detach()
    assert float((top.T @ top - torch.eye(RANK)).abs().max()) < 1e-2


def test_a_direction_has_unit_length_whatever_it_is_given():
    made = Direction(WIDTH, torch.arange(1.0, WIDTH + 1))
    assert made.invariants()["unit_norm"] <= 1e-6
    frame, h = made.frame(Context()), torch.randn(2, 3, WIDTH)
    z = frame.coordinates(h)
    assert z.shape == (2, 3, 1) and torch.allclose(z[..., 0], h @ made.vector)
    assert torch.allclose(frame.lift(z, z), z * made.vector)
    assert torch.equal(made.basis, made.vector[:, None])


@torch.no_grad()
def test_a_directions_gradient_is_made_orthogonal_to_it():
    made = Direction(WIDTH)
    made.vector.grad = torch.randn(WIDTH)
    assert abs(float(made.vector @ made.vector.grad)) > 0.1, "negative control"
    before = made.vector.grad.clone()
    made.project_gradient()
    assert abs(float(made.vector @ made.vector.grad)) <= 1e-6
    along = float(made.vector @ before)
    assert torch.allclose(made.vector.grad + along * made.vector, before, atol=1e-6)
    made.vector.mul_(3.0)
    made.retract()
    assert made.invariants()["unit_norm"] <= 1e-6


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_direction_needs_a_direction(value):
    with pytest.raises(InputError, match="a direction needs a finite, non-zero vector"):
        Direction(WIDTH, torch.full((WIDTH,), value))


def test_a_frozen_direction_is_rebuilt_from_its_params():
    made = Direction(WIDTH, learned=False)
    again = Direction(**made.params())
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.vector, made.vector) and not again.vector.requires_grad
