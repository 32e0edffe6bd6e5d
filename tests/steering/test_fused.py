"""Affine steering edits as two products equal the parts one by one: all methods, operations, factors and dtypes."""

from __future__ import annotations

import pytest
import torch

from das.interventions.base import Intervention
from das.steering.fused import fused
from tests.contracts.test_interventions import BATCH, METHODS, activations, build, context

FACTORS = {"none": None, "one": torch.tensor([1.5]), "rows": torch.tensor([1.0, -2.0, 1.0, 0.5, -2.0])}
FUSED = {"das", "loreft", "consreft", "cdas", "caa", "ace"}


def templates(name: str) -> list[Intervention]:
    method = build(name)
    return [method.with_edit(edit) for edit in (method.edit, *method.steering.values()) if not edit.sources]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("given", FACTORS)
def test_fused_is_what_the_parts_do(name: str, given: str) -> None:
    factor, found = FACTORS[given], 0
    for made in (m.requires_grad_(False).eval() for m in templates(name)):
        for value in made.edit.state_dict().values():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
        if (quick := fused(made, factor)) is None:
            continue
        found += 1
        h = activations(made)[0]
        rows = None if factor is None else factor.expand(BATCH)
        wanted = made(h, None, context(factor=rows)).activation
        for dtype, close in ((torch.float32, 1e-5), (torch.float64, 1e-5), (torch.bfloat16, 1e-2)):
            got = quick(h.to(dtype))
            assert got.dtype == dtype and torch.allclose(
                got.float(), wanted, rtol=close, atol=close * float(h.abs().max())
            )
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(quick(h), quick(h.clone())) and torch.allclose(quick(h), wanted, rtol=1e-5, atol=1e-5)
    assert found or name not in FUSED


def test_a_factor_that_scales_the_activation_itself_is_not_shared_among_rows() -> None:
    """Where the linear part depends on the factor there is no one pair of matrices for all rows."""
    for name in METHODS:
        for made in templates(name):
            if fused(made, torch.tensor([0.5])) and not fused(made, torch.tensor([0.5, 2.0])):
                h = activations(made)[0]
                one, other = (made(h, None, context(factor=torch.full((BATCH,), f))).activation for f in (0.5, 2.0))
                assert not torch.allclose(one, other)
                return
    pytest.fail("no method has such an operation, and this test checks nothing")


def test_a_forward_with_gradients_may_follow_one_in_inference_mode() -> None:
    made = next(m for m in templates("das") if fused(m, torch.tensor([1.0])))
    quick, h = fused(made, torch.tensor([1.0])), activations(made)[0].requires_grad_()
    with torch.inference_mode():
        quick(h)
    quick(h).sum().backward()
    assert torch.isfinite(h.grad).all()
