"""What each edit does to coordinates, with and without a steering factor per row."""

from __future__ import annotations

import pytest
import torch

from das.context import Context
from das.edits.add import Add
from das.edits.add_or_null import AddOrNull
from das.edits.clamp import Clamp
from das.edits.lerp import Lerp
from das.edits.mean_top_k import MeanTopK
from das.edits.swap import Swap
from das.edits.zero import Zero
from das.errors import CapabilityError
from das.featurizers.direction import Direction
from das.featurizers.rotation import Rotation
from das.featurizers.vector import Vector
from das.interventions.base import AS_TRAINED, Intervention
from das.methods import method
from das.methods.reps_vector import reps_vector

BATCH, POSITIONS, WIDTH, RANK = 4, 3, 10, 2
PLUS, MINUS = torch.tensor([1.5, -2.0]), torch.tensor([-0.5, 3.0])
FACTORS = torch.tensor([2.0, -3.0, 0.0, -0.5])


def activations(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(BATCH, POSITIONS, RANK, dtype=dtype)
    return z, torch.randn(BATCH, POSITIONS, WIDTH, dtype=dtype)


def test_clamp_without_a_factor_is_the_positive_value_everywhere():
    z, h = activations()
    out, aux = Clamp(RANK, PLUS, MINUS)(z, h, {}, Context())
    assert torch.equal(out, PLUS.expand(BATCH, POSITIONS, RANK)) and aux == {}


def test_clamp_scales_per_row_and_a_negative_factor_takes_the_other_value():
    z, h = activations()
    out, _ = Clamp(RANK, PLUS, MINUS)(z, h, {}, Context(factor=FACTORS))
    rows = torch.stack([2 * PLUS, 3 * MINUS, 0 * PLUS, 0.5 * MINUS])
    assert torch.equal(out, rows[:, None].expand(BATCH, POSITIONS, RANK))
    assert not torch.equal(out[1], -3 * PLUS.expand(POSITIONS, RANK)), "the negative value is no mirrored positive one"


def test_clamping_to_the_sources_coordinates_is_a_swap():
    featurizer = Rotation(WIDTH, RANK)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        h, source = torch.randn(2, BATCH, POSITIONS, WIDTH).to(dtype)
        source = source[:1, :1].expand(BATCH, 1, WIDTH)  # one value for all rows, as a clamp has
        exact = torch.promote_types(dtype, torch.float32)
        value = (source[0, 0].to(exact) @ featurizer.basis.detach().to(exact)).detach()
        clamp = Clamp(RANK).to(exact)
        clamp.positive.copy_(value)
        clamped = Intervention(featurizer, clamp)(h).activation
        swapped = Intervention(featurizer, Swap())(h, {"source": source}).activation
        assert torch.allclose(clamped, swapped, atol=1e-14 if dtype == torch.float64 else 1e-6)
        assert not torch.allclose(clamped, h, atol=1e-2)


def test_lerp_goes_a_factors_share_of_the_way():
    z, h = activations()
    lerp = Lerp(RANK, PLUS)
    assert torch.equal(lerp(z, h, {}, Context())[0], PLUS.expand_as(z))
    out, _ = lerp(z, h, {}, Context(factor=torch.tensor([1.0, 0.0, 0.5, -1.0])))
    assert torch.equal(out[1], z[1]), "factor 0 changes nothing"
    assert torch.allclose(out[0], PLUS.expand_as(z[0])) and torch.allclose(out[2], (z[2] + PLUS) / 2)
    assert torch.allclose(out[3], 2 * z[3] - PLUS), "a negative factor moves away from the constant, whatever its sign"


def test_add_shifts_by_the_signed_factor():
    z, h = activations()
    add = Add(RANK, PLUS)
    assert torch.equal(add(z, h, {}, Context())[0], z + PLUS)
    out, _ = add(z, h, {}, Context(factor=FACTORS))
    assert torch.allclose(out - z, (FACTORS[:, None] * PLUS)[:, None].expand_as(z), atol=1e-6)


def test_zero_erases_the_direction_and_nothing_else():
    featurizer = Direction(WIDTH)
    h = torch.randn(BATCH, POSITIONS, WIDTH)
    edited = Intervention(featurizer, Zero())(h).activation.detach()
    v = featurizer.vector.detach()
    assert float((edited @ v).abs().max()) <= 1e-6
    assert torch.allclose(edited, h - (h @ v)[..., None] * v, atol=1e-6)


def test_a_swap_without_its_source_says_what_it_wanted():
    z, h = activations()
    with pytest.raises(CapabilityError, match=r"Got sources \['other'\], wanted 'donor'"):
        Swap("donor")(z, h, {"other": z}, Context())
    assert Swap("donor").sources == ("donor",)


def test_a_source_read_at_one_position_is_broadcast():
    z, h = activations()
    out, _ = Swap()(z, h, {"source": z[:, :1]}, Context())
    assert torch.equal(out, z[:, :1].expand_as(z))


@pytest.mark.parametrize("edit", [Clamp(RANK, PLUS, MINUS), Add(RANK, PLUS), Zero(), Swap("donor")], ids=repr)
def test_rebuilt_from_params_and_state(edit):
    z, h = activations()
    again = type(edit)(**edit.params())
    again.load_state_dict(edit.state_dict())
    for ctx in (Context(), Context(factor=FACTORS)):
        sources = {"donor": z + 1}
        assert torch.equal(edit(z, h, sources, ctx)[0], again(z, h, sources, ctx)[0])


@pytest.mark.parametrize("edit", [Clamp(RANK, PLUS, MINUS), Add(RANK, PLUS), Zero()], ids=repr)
def test_steering_edits_read_no_source_and_learn_nothing(edit):
    assert edit.sources == () and not any(p.requires_grad for p in edit.parameters())


def test_values_are_copied():
    value = PLUS.clone()
    clamp, add = Clamp(RANK, value, value), Add(RANK, value)
    value.zero_()
    assert torch.equal(clamp.positive, PLUS) and torch.equal(clamp.negative, PLUS) and torch.equal(add.value, PLUS)


def test_the_maths_keeps_double_precision():
    z, h = activations(torch.float64)
    factor = FACTORS.double() / 3
    clamped, _ = Clamp(RANK, PLUS, MINUS)(z, h, {}, Context(factor=factor))
    rows = [f.abs() * (PLUS if f >= 0 else MINUS).double() for f in factor]
    assert torch.equal(clamped, torch.stack(rows)[:, None].expand_as(z))
    added, _ = Add(RANK, PLUS)(z, h, {}, Context(factor=factor))
    assert torch.equal(added, z + (factor[:, None] * PLUS.double())[:, None])


def test_padded_tokens_are_not_part_of_the_latents_penalty():
    z = torch.tensor([[[3.0], [1.0], [2.0], [9.0]]])
    mask = torch.tensor([[True, True, True, False]])
    out, aux = MeanTopK(k=1, weight=1.0)(z, z, {}, Context(token_mask=mask, progress=0.5))
    assert torch.equal(out, z + 3.0) and float(aux["penalty/latents"]) == pytest.approx(0.5 * (1.0 + 2.0) / 2)


@pytest.mark.parametrize("beta", [0.0, 1.5, -2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_add_or_null_is_the_formula_of_reps(beta, seed):
    """h + f v, and at f = 0 h - relu(v.h + beta) / |v|^2 v, whatever the length of v."""
    generator = torch.Generator().manual_seed(seed)
    v, h = 3 * torch.randn(WIDTH, generator=generator), torch.randn(8, 1, WIDTH, generator=generator)
    x = Intervention(Vector(WIDTH, vector=v, beta=beta), AddOrNull())
    for f in (2.0, -0.5, 0.0):
        read = (h @ v)[..., None]
        wanted = h + f * v if f else h - (read + beta).relu() / v.square().sum() * v
        made = x(h, None, Context(factor=torch.full((8,), f))).activation
        assert torch.allclose(made, wanted, atol=1e-5)
    assert 0 < int((read + beta > 0).sum()) < 8, "some are suppressed, some are left alone"
    assert reps_vector(WIDTH, beta=beta).featurizer.beta == beta


@pytest.mark.parametrize("name", ["noreft", "nodireft"])
def test_what_writing_does_not_undo_offers_no_clamp(name):
    assert method(name)(width=WIDTH).operations == (AS_TRAINED,)
    assert method("loreft")(width=WIDTH).operations == (AS_TRAINED, "clamp", "add", "ablate")
