"""Orthonormal bases: what a retraction must be, and what torch's own QR is not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from das.errors import InputError
from das.geometry import (
    check_rank,
    orthonormality_residual,
    orthonormalize,
    principal_cosines,
    random_orthonormal,
)

SHAPES = st.integers(1, 24).flatmap(lambda width: st.tuples(st.just(width), st.integers(1, width)))


def drawn(width: int, rank: int, seed: int = 0) -> torch.Tensor:
    return random_orthonormal(width, rank, torch.Generator().manual_seed(seed))


def test_a_plain_qr_is_no_retraction():
    """The negative control: without fixed signs a basis that is fine already comes back with flipped columns."""
    basis = drawn(12, 3)
    q, _ = torch.linalg.qr(basis)
    assert float((q - basis).abs().max()) > 0.1


@settings(max_examples=30)
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_the_identity_on_orthonormal_columns(shape, seed):
    basis = drawn(*shape, seed)
    assert float((orthonormalize(basis) - basis).abs().max()) <= 2e-6
    exact = torch.linalg.qr(basis.double())[0]
    assert float((orthonormalize(exact) - exact).abs().max()) <= 1e-13


@settings(max_examples=30)
@given(shape=SHAPES, seed=st.integers(0, 99), scale=st.floats(1e-3, 1e3))
def test_orthonormal_whatever_the_length_and_in_the_same_span(shape, seed, scale):
    width, rank = shape
    raw = scale * torch.randn(width, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    basis = orthonormalize(raw)
    assert orthonormality_residual(basis) <= 1e-12
    assert float((raw - basis @ (basis.T @ raw)).abs().max()) <= 1e-9 * scale


@pytest.mark.parametrize("seed", range(5))
def test_continuous_and_of_first_order(seed):
    """R -> retract(R + t D) moves by t D + O(t^2) for a tangent D; nothing jumps as t goes through zero."""
    basis = drawn(16, 4, seed).double()
    basis = torch.linalg.qr(basis)[0]
    tangent = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed + 50), dtype=torch.float64)
    inner = basis.T @ tangent
    tangent = tangent - basis @ (inner + inner.T) / 2
    for t in (1e-3, 1e-4, -1e-4):
        moved = orthonormalize(basis + t * tangent)
        assert float((moved - basis).abs().max()) <= 10 * abs(t)
        skew = tangent - basis @ (basis.T @ tangent)  # the part that changes the span, of first order in any retraction
        out = moved - basis @ (basis.T @ moved)
        assert float((out - t * skew).abs().max()) <= 100 * t * t


def test_differentiable():
    raw = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(orthonormalize, (raw,))


def test_the_residual_sees_length_angle_and_nan():
    basis = drawn(10, 3)
    assert orthonormality_residual(basis) <= 1e-6
    assert orthonormality_residual(1.1 * basis) == pytest.approx(0.21, abs=1e-5)
    skewed = basis.clone()
    skewed[:, 0] = (basis[:, 0] + basis[:, 1]) / 2**0.5
    assert orthonormality_residual(skewed) == pytest.approx(0.5**0.5, abs=1e-5)
    assert not orthonormality_residual(basis * float("nan")) <= 1.0


def test_principal_cosines_of_known_subspaces():
    eye = torch.eye(6)
    assert torch.equal(principal_cosines(eye[:, :2], eye[:, 2:5]), torch.zeros(2, dtype=torch.float64))
    assert torch.equal(principal_cosines(eye[:, :3], eye[:, [1, 5]]), torch.tensor([1.0, 0.0], dtype=torch.float64))
    angle = torch.tensor(0.3)
    tilted = torch.stack([angle.cos() * eye[:, 0] + angle.sin() * eye[:, 4], eye[:, 1]], 1)
    got = principal_cosines(eye[:, :2], tilted)
    assert torch.allclose(got, torch.tensor([1.0, float(angle.cos())], dtype=torch.float64), atol=1e-7)


@settings(max_examples=30)
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_principal_cosines_do_not_depend_on_the_basis_of_the_span(shape, seed):
    width, rank = shape
    a, turn = drawn(width, rank, seed), drawn(rank, rank, seed + 1)
    cosines = principal_cosines(a, a @ turn)
    assert cosines.shape == (rank,) and float(cosines.min()) >= 1 - 1e-6 and float(cosines.max()) <= 1.0


def test_random_bases_are_reproducible_and_uniform():
    assert torch.equal(drawn(9, 2, 3), drawn(9, 2, 3)) and not torch.equal(drawn(9, 2, 3), drawn(9, 2, 4))
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([random_orthonormal(8, 2, generator) for _ in range(200)])
    assert float(first.mean(0).abs().max()) < 0.12, "no preferred sign"
    assert float((first.square().mean(0) - 1 / 8).abs().max()) < 0.05, "no preferred axis"


@pytest.mark.parametrize("rank", [0, -1, 5])
def test_a_rank_that_cannot_be(rank):
    for refuse in (check_rank, random_orthonormal):
        with pytest.raises(InputError, match=rf"rank must lie between 1 and the site's width\. Got rank {rank} at"):
            refuse(4, rank)
    check_rank(4, 4)
