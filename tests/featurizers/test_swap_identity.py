"""What a swap in an orthonormal subspace is: the coordinates are the source's, everything else is the base's.

R^T h' = R^T s      (I - R R^T) h' = (I - R R^T) h
"""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from das.edits.swap import Swap
from das.errors import InputError, UnknownChoiceError
from das.featurizers import rotation
from das.featurizers.base import Featurizer
from das.featurizers.direction import Direction
from das.featurizers.identity import Identity
from das.featurizers.rotation import Rotation
from das.geometry import orthonormalize, random_orthonormal
from das.interventions.base import Intervention

WIDTH, RANK = 14, 3
EXACT = 1e-12


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(featurizer: Featurizer, basis: torch.Tensor) -> Featurizer:
    """The featurizer in fp64 with this very basis: the fp32 one is orthonormal only to 1e-7."""
    featurizer.double()
    [parameter] = featurizer.parameters()
    with torch.no_grad():
        parameter.copy_(basis.reshape(parameter.shape))
    return featurizer


def violations(featurizer: Featurizer, basis: torch.Tensor, seed: int = 0) -> tuple[float, float]:
    """By how much the two equations of the module docstring fail."""
    h, s = normal(2, 4, 2, basis.shape[0], seed=seed)
    edited = Intervention(featurizer, Swap())(h, {"source": s}).activation.detach()
    inside = (edited - s) @ basis
    change = edited - h
    outside = change - change @ basis @ torch.linalg.pinv(basis)
    return float(inside.abs().max()), float(outside.abs().max())


def test_columns_that_are_not_orthonormal_break_it():
    """The negative control: longer or skewed columns do not give the source's coordinates."""
    basis = orthonormalize(normal(WIDTH, RANK))
    skewed = basis.clone()
    skewed[:, 0] = (basis[:, 0] + basis[:, 1]) / 2**0.5
    for broken in (1.2 * basis, skewed, normal(WIDTH, RANK)):
        inside, _ = violations(exactly(Rotation(WIDTH, RANK), broken), broken)
        assert inside > 0.1


@settings(max_examples=30)
@given(width=st.integers(1, 20), data=st.data(), seed=st.integers(0, 50))
def test_the_swap_identity(width, data, seed):
    rank = data.draw(st.integers(1, width))
    basis = orthonormalize(normal(width, rank, seed=seed))
    featurizer = exactly(Rotation(width, rank), basis)
    inside, outside = violations(featurizer, basis, seed)
    assert inside <= EXACT and outside <= EXACT


def test_the_swap_identity_of_a_direction():
    vector = orthonormalize(normal(WIDTH, 1))
    inside, outside = violations(exactly(Direction(WIDTH), vector), vector)
    assert inside <= EXACT and outside <= EXACT


def test_a_rotation_of_full_rank_swaps_everything():
    h, s = normal(2, 4, 2, WIDTH)
    turned = Intervention(exactly(Rotation(WIDTH, WIDTH), orthonormalize(normal(WIDTH, WIDTH))), Swap())
    assert float((turned(h, {"source": s}).activation.detach() - s).abs().max()) <= EXACT
    short = Intervention(exactly(Rotation(WIDTH, WIDTH - 1), orthonormalize(normal(WIDTH, WIDTH - 1))), Swap())
    assert float((short(h, {"source": s}).activation.detach() - s).abs().max()) > 0.1, "one rank less does not"


def test_the_identity_featurizer_gives_the_source_itself():
    h, s = normal(2, 4, 2, WIDTH)
    assert float((Intervention(Identity(WIDTH), Swap())(h, {"source": s}).activation.detach() - s).abs().max()) <= EXACT


def test_both_parametrizations_are_the_same_function():
    basis = random_orthonormal(WIDTH, RANK)
    h, s = torch.randn(2, 4, 2, WIDTH)
    retract, qr = (
        Intervention(Rotation(WIDTH, RANK, parametrization, basis), Swap())  # type: ignore[arg-type]
        for parametrization in ("retract", "qr")
    )
    one, two = (x(h, {"source": s}).activation for x in (retract, qr))
    assert torch.allclose(one, two, atol=1e-6) and not torch.allclose(one, h, atol=1e-2)
    qr.featurizer.weight.data *= 5.0  # any length gives the same R under "qr"
    assert torch.allclose(qr(h, {"source": s}).activation, two, atol=1e-6)


def test_a_bad_rotation_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # what a user without the test run's checks sees
    with pytest.raises(UnknownChoiceError, match=r"unknown parametrization.*'cayley'"):
        Rotation(WIDTH, RANK, "cayley")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rank 15 at width 14"):
        Rotation(WIDTH, WIDTH + 1)


def test_a_frozen_rotation_never_moves():
    basis = random_orthonormal(WIDTH, RANK)
    frozen = Rotation(WIDTH, RANK, basis=basis, learned=False)
    frozen.retract()
    assert torch.equal(frozen.basis, basis) and not frozen.weight.requires_grad
    frozen.weight.data *= 3.0
    assert frozen.invariants()["orthonormal"] == pytest.approx(8.0, abs=1e-4)


def test_a_basis_to_start_from_is_orthonormal_and_fits():
    with pytest.raises(InputError, match=r"must have orthonormal columns\. Got residual 8"):
        Rotation(WIDTH, RANK, basis=3.0 * random_orthonormal(WIDTH, RANK))
    with pytest.raises(InputError, match=rf"wrong shape\. Got \({WIDTH}, {RANK + 1}\)"):
        Rotation(WIDTH, RANK, basis=random_orthonormal(WIDTH, RANK + 1))
    with pytest.raises(InputError, match="wrong shape"):
        Direction(WIDTH, torch.ones(WIDTH + 1))


def test_the_qr_is_taken_once_per_forward(monkeypatch):
    calls = []
    monkeypatch.setattr(rotation, "orthonormalize", lambda basis: (calls.append(1), orthonormalize(basis))[1])
    h, s = torch.randn(2, 2, 3, WIDTH)
    Intervention(Rotation(WIDTH, RANK, "qr"), Swap())(h, {"source": s})
    assert len(calls) == 1


@pytest.mark.parametrize("featurizer", [Rotation(WIDTH, RANK), Rotation(WIDTH, 2, "qr", learned=False)])
def test_a_rotation_is_rebuilt_from_its_params(featurizer):
    again = Rotation(**featurizer.params())
    again.load_state_dict(featurizer.state_dict())
    assert torch.equal(again.basis, featurizer.basis) and again.params() == featurizer.params()
    assert again.weight.requires_grad == featurizer.weight.requires_grad


def test_parameters_are_no_view_of_what_was_given():
    basis = random_orthonormal(WIDTH, RANK)
    featurizer = Rotation(WIDTH, RANK, basis=basis)
    assert isinstance(featurizer.weight, nn.Parameter)
    basis.zero_()
    assert featurizer.invariants()["orthonormal"] <= 1e-5
