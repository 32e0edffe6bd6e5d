"""What every intervention promises, checked for every yaml in conf/intervention."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch

from das.context import Context
from das.edits.clamp import Clamp
from das.edits.zero import Zero
from das.errors import CapabilityError
from das.estimators.base import Effects, Estimator, Examples, Found, SetEstimator
from das.gates.all import All
from das.interventions.affine import affine_map
from das.interventions.base import AS_TRAINED, Intervention
from das.interventions.serial import from_spec, to_spec
from das.interventions.sets import InterventionSet
from das.models.families import ModelView
from das.training.optim import AdamW
from das.training.step import step
from das.types import Site
from tests.contracts.groups import made, names
from tests.families import tiny_model

WIDTH, BATCH, POSITIONS = 12, 5, 3
METHODS = names("intervention")

Sources = dict[str, torch.Tensor]


def examples(seed: int, width: int = WIDTH) -> Examples:
    """Three tokens of each of 60 prompts whose two values differ in mean and covariance."""
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.arange(60).repeat_interleave(3)
    label, x = prompt % 2, torch.randn(180, width, generator=generator)
    x = x * torch.where(label[:, None] == 1, 1.0, torch.linspace(0.5, 2.0, width)) + 1.5 * label[:, None]
    return Examples(x, label, prompt, prompt // 2, torch.arange(180) % 3, torch.randn(180, width, generator=generator))


def build(name: str, seed: int = 0) -> Intervention:
    """A copy of the method made once per seed: some estimators take a second."""
    return copy.deepcopy(_built(name, seed))


@cache
def _built(name: str, seed: int) -> Intervention:
    torch.manual_seed(seed)
    method = made("intervention", name)
    if isinstance(method, Estimator):
        return method.fit(examples(seed))
    if isinstance(method, SetEstimator):
        view = ModelView(tiny_model("llama-gqa"))
        found = {
            site: Found(*(examples(seed + n + split, view.bind(site).width) for split in (0, 100)))
            for n, site in enumerate(method.candidates(view, [Site(0)]))
        }
        return method.fit_set(view, found, lambda entries: Effects((0.0, 1.0), 0.0))[0][1]
    return method(width=WIDTH)


def context(rows: int = BATCH, positions: int = POSITIONS, **more: Any) -> Context:
    """What every part may ask for, after training unless told otherwise."""
    return Context(position_ids=torch.arange(positions).expand(rows, -1), **{"progress": 1.0, **more})


def activations(method: Intervention, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, Sources]:
    """A base, and every source that the method asks for, a concept's description among them."""
    generator = torch.Generator().manual_seed(3)
    base, *others = torch.randn(1 + len(method.sources), BATCH, POSITIONS, method.width, generator=generator)
    return base.to(dtype), {name: s.to(dtype) for name, s in zip(method.sources, others, strict=True)}


def rows_of(sources: Sources, rows: torch.Tensor | slice) -> Sources:
    return {name: source[rows] for name, source in sources.items()}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_keeps_shape_and_dtype(name, dtype):
    method = build(name)
    base, sources = activations(method, dtype)
    edited = method(base, sources, context()).activation
    assert edited.shape == base.shape and edited.dtype == dtype
    assert torch.isfinite(edited).all()
    training = method(base, sources, context(progress=0.5)).activation
    assert not torch.equal(training, base), "an intervention that does nothing is a bug, not a method"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sources_equal_to_the_base_are_an_exact_no_op(name, dtype):
    method = build(name)
    base, sources = activations(method, dtype)
    if not method.edit.sources:
        with pytest.raises(CapabilityError):
            made("intervention", "das")(width=method.width)(base)  # negative control: an interchange needs its source
        return
    if method.edit.aligned:  # others may take a token from another one
        assert torch.equal(method(base, dict.fromkeys(sources, base), context()).activation, base)


@pytest.mark.parametrize("name", METHODS)
def test_rows_are_independent_and_their_order_is_irrelevant(name):
    method = build(name)
    base, sources = activations(method)
    together = method(base, sources, context()).activation
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    shuffled = method(base[order], rows_of(sources, order), context()).activation
    assert torch.allclose(together[order], shuffled, atol=1e-6)
    for row in range(BATCH):
        alone = method(base[row : row + 1], rows_of(sources, slice(row, row + 1)), context(rows=1)).activation
        assert torch.allclose(alone[0], together[row], atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_scope_it_states_is_true(name):
    method = build(name)
    base, sources = activations(method)
    together = method(base, sources, context()).activation
    alone = method(base[:, :1], {n: s[:, :1] for n, s in sources.items()}, context(positions=1)).activation
    if method.scope == "token":
        assert torch.allclose(alone[:, 0], together[:, 0], atol=1e-6)
    else:
        assert not torch.allclose(alone[:, 0], together[:, 0], atol=1e-6), "it could run token by token: say so"
        assert AS_TRAINED not in method.operations or method.edit.scope == "token"


@pytest.mark.parametrize("name", METHODS)
def test_a_source_read_at_one_position_is_broadcast(name):
    method = build(name)
    base, sources = activations(method)
    if method.edit.sources and method.edit.aligned:
        one = {n: s[:, :1] for n, s in sources.items()}
        wide = method(base, {n: s.expand(-1, POSITIONS, -1) for n, s in one.items()}, context()).activation
        assert torch.allclose(method(base, one, context()).activation, wide, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_every_learned_parameter(name):
    method = build(name)
    base, sources = activations(method)
    learned = [(n, p) for n, p in method.named_parameters() if p.requires_grad]
    if not learned:
        assert not method(base, sources, context()).activation.requires_grad
        return
    method(base, sources, context(progress=0.5)).activation.square().sum().backward()
    for what, parameter in learned:
        assert parameter.grad is not None and float(parameter.grad.norm()) > 0, what


@pytest.mark.parametrize("name", METHODS)
def test_invariants_survive_200_steps_with_weight_decay(name):
    method = build(name)
    base, sources = activations(method)
    together = InterventionSet([(Site(0), method)])
    if together.learned:
        before = copy.deepcopy(method.state_dict())
        optimizer, _ = AdamW(lr=0.05, weight_decay=0.1, schedule="constant", clip=0.0).build(together, 200)
        goal = torch.randn(BATCH, POSITIONS, method.width, generator=torch.Generator().manual_seed(9))
        for n in range(200):
            (method(base, sources, context(progress=n / 200)).activation - goal).square().mean().backward()
            step(together, optimizer)
        assert any(not torch.equal(before[k], v) for k, v in method.state_dict().items())
    for what, violation in method.invariants().items():
        assert violation <= 1e-5, what


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_intervention(name):
    first, second, third = (_built.__wrapped__(name, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))
    if build(name).edit.sources and any(p.requires_grad for p in build(name).featurizer.parameters()):
        assert any(not torch.equal(a, b) for a, b in zip(first.values(), third.values(), strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_saved_and_rebuilt_is_bit_equal(name):
    method = build(name)
    base, sources = activations(method)
    again = from_spec(to_spec(method))
    again.load_state_dict(copy.deepcopy(method.state_dict()))
    assert torch.equal(method(base, sources, context()).activation, again(base, sources, context()).activation)
    assert to_spec(again) == to_spec(method) and again.operations == method.operations


@pytest.mark.parametrize("name", METHODS)
def test_half_precision_models_get_full_precision_maths(name):
    method = build(name)
    base, sources = activations(method, torch.bfloat16)
    low = method(base, sources, context()).activation
    high = method(base.float(), {n: s.float() for n, s in sources.items()}, context()).activation
    assert torch.equal(low, high.to(torch.bfloat16))
    assert all(p.dtype == torch.float32 for p in method.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_autocast_does_not_lower_the_maths(name):
    method = build(name)
    base, sources = activations(method)
    with torch.autocast("cpu", torch.bfloat16):
        inside = method(base, sources, context()).activation
        z = method.coordinates(base) if method.conditioner is None else None
    assert torch.equal(inside, method(base, sources, context()).activation)
    if method.conditioner is None:
        assert torch.equal(z, method.coordinates(base))
    else:
        with pytest.raises(CapabilityError, match="a conditioner makes"):
            method.coordinates(base)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_folded_is_what_it_does(name):
    """An edit says itself that it is affine, and a gate that it is constant; `das.fold` relies on it."""
    method = build(name)
    for edit in (e for e in (method.edit, *method.steering.values()) if not e.sources):
        made, factor = method.with_edit(edit).double(), torch.tensor([1.5], dtype=torch.float64)
        try:
            folded = affine_map(made, factor)
        except CapabilityError:
            continue
        for length in (1e-2, 1.0, 1e3):
            h = length * activations(method, torch.float64)[0]
            edited = made(h, None, context(factor=factor.expand(BATCH))).activation
            assert torch.allclose(h + h @ folded.read @ folded.write.T + folded.offset, edited, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_clamped_or_ablated_is_read_back(name):
    """Where all of the coordinates are open; an autoencoder's latents are set before it decodes, as its card says."""
    for seed in range(2):
        method = build(name, seed)
        if name == "sae" or method.conditioner is not None or not isinstance(method.gate, All):
            continue
        base = activations(method, torch.float64)[0]
        value = torch.linspace(-2, 2, method.rank)
        for op, edit in method.steering.items():
            if op in ("clamp", "ablate") and isinstance(edit, Clamp | Zero):
                made = method.with_edit(edit.at(value) if isinstance(edit, Clamp) else edit).double()
                read = made.coordinates(made(base, None, context()).activation)
                wanted = value.double() if op == "clamp" else torch.zeros(method.rank, dtype=torch.float64)
                assert torch.allclose(read, wanted.expand_as(read), atol=1e-5), op
