"""What every intervention promises, checked for every yaml in conf/intervention."""

from __future__ import annotations

import copy

import pytest
import torch

from das.batch import Context
from das.interventions.base import Intervention
from das.interventions.serial import from_spec, to_spec
from tests.contracts.groups import made, names

WIDTH, BATCH, POSITIONS = 12, 5, 3
METHODS = names("intervention")


def build(name: str, seed: int = 0) -> Intervention:
    torch.manual_seed(seed)
    return made("intervention", name)(width=WIDTH)


def activations(dtype: torch.dtype = torch.float32, seed: int = 3) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    base, source = torch.randn(2, BATCH, POSITIONS, WIDTH, generator=generator)
    return base.to(dtype), {"source": source.to(dtype)}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_keeps_shape_and_dtype(name, dtype):
    base, sources = activations(dtype)
    edited = build(name)(base, sources).activation
    assert edited.shape == base.shape and edited.dtype == dtype
    assert torch.isfinite(edited).all()
    assert not torch.equal(edited, base), "an intervention that does nothing is a bug, not a method"


@pytest.mark.parametrize("name", METHODS)
def test_source_equal_to_base_is_an_exact_no_op(name):
    for dtype in (torch.float32, torch.bfloat16):
        base, _ = activations(dtype)
        assert torch.equal(build(name)(base, {"source": base}).activation, base)


@pytest.mark.parametrize("name", METHODS)
def test_rows_are_independent_and_their_order_is_irrelevant(name):
    base, sources = activations()
    method = build(name)
    together = method(base, sources).activation
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    shuffled = method(base[order], {"source": sources["source"][order]}).activation
    assert torch.allclose(together[order], shuffled, atol=1e-6)
    for row in range(BATCH):
        alone = method(base[row : row + 1], {"source": sources["source"][row : row + 1]}).activation
        assert torch.allclose(alone[0], together[row], atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_source_read_at_one_position_is_broadcast(name):
    base, sources = activations()
    one = sources["source"][:, :1]
    method = build(name)
    wide = method(base, {"source": one.expand(-1, POSITIONS, -1)}).activation
    assert torch.allclose(method(base, {"source": one}).activation, wide, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_every_learned_parameter(name):
    base, sources = activations()
    method = build(name)
    learned = [p for p in method.parameters() if p.requires_grad]
    if learned:
        method(base, sources).activation.square().sum().backward()
        for parameter in learned:
            assert parameter.grad is not None and float(parameter.grad.norm()) > 0


@pytest.mark.parametrize("name", METHODS)
def test_invariants_survive_optimisation_with_weight_decay(name):
    base, sources = activations()
    method = build(name)
    learned = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=0.05, weight_decay=0.1) if learned else None
    goal = torch.randn(BATCH, POSITIONS, WIDTH, generator=torch.Generator().manual_seed(9))
    for _ in range(200 if learned else 0):
        assert optimizer is not None
        optimizer.zero_grad()
        (method(base, sources).activation - goal).square().mean().backward()
        optimizer.step()
        method.retract()
    for what, violation in method.featurizer.invariants().items():
        assert violation <= 1e-5, what


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_intervention(name):
    first, second = build(name, 1), build(name, 1)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", METHODS)
def test_saved_and_rebuilt_is_bit_equal(name):
    base, sources = activations()
    method = build(name)
    again = from_spec(to_spec(method))
    again.load_state_dict(copy.deepcopy(method.state_dict()))
    assert torch.equal(method(base, sources).activation, again(base, sources).activation)
    assert again.capabilities == method.capabilities


@pytest.mark.parametrize("name", METHODS)
def test_half_precision_models_get_full_precision_maths(name):
    base, sources = activations(torch.bfloat16)
    method = build(name)
    low = method(base, sources).activation
    high = method(base.float(), {"source": sources["source"].float()}).activation
    assert torch.equal(low, high.to(torch.bfloat16))
    assert all(p.dtype == torch.float32 for p in method.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_autocast_does_not_lower_the_maths(name):
    base, sources = activations()
    method = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        inside = method(base, sources, Context()).activation
    assert torch.equal(inside, method(base, sources).activation)
