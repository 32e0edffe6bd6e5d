"""Each intervention by itself: activations to 1e-5, gradients to 1e-4."""

from __future__ import annotations

import warnings

import pytest
import torch

from das.context import Context
from tests.parity.cases import CASES, PROGRESS, differentiable, gradients
from tests.parity.peer import pv
from tests.parity.runs import far

WIDTH, ROWS = 12, 5
FORWARD, GRADIENT = 1e-5, 1e-4


def apply(theirs, base, source, subspaces=None):
    """What pyvene's hook does with gathered activations (B, P, width)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SigmoidMask copies a tensor in a way torch warns of
        given = None if theirs.is_source_constant else source.clone()
        return pv.models.modeling_utils.do_intervention(base.clone(), given, theirs, subspaces)


@pytest.mark.parametrize(
    ("name", "positions"), [(n, p) for n, case in CASES.items() for p in ((1, 3) if case.positions else (1,))]
)
def test_it_computes_the_same(name, positions):
    case = CASES[name]
    theirs, ours = case.pair(WIDTH, several=positions > 1)
    base, source, probe = torch.randn(3, ROWS, positions, WIDTH)
    inputs = [(base.clone().requires_grad_(), source.clone().requires_grad_()) for _ in range(2)]
    with differentiable(theirs):
        wanted = apply(theirs, *inputs[0], case.per_row(ROWS))
        got = ours(inputs[1][0], {"source": inputs[1][1]}, Context(progress=PROGRESS)).activation
        assert far(wanted, base) > 0.1, "it does something"
        assert far(wanted, got) <= FORWARD
        for result in (wanted, got):
            (result * probe).sum().backward()
        for x, y in zip(*inputs, strict=True):
            assert (x.grad is None) == (y.grad is None)
            assert x.grad is None or far(x.grad, y.grad) <= GRADIENT
        for parameter, x, y in gradients(case, theirs, ours):
            assert float(x.abs().max()) > 0.01, parameter
            assert far(x, y) <= GRADIENT, parameter
