"""Defects of pyvene 0.1.8 and pyreft 0.1.0 that das does not have: each shown on their side, then absent on ours.

`README.md` lists them. A test that fails on their side means that a new version has mended it: then drop it.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import pad

from das.batch import TokenBatch
from das.edits.swap import Swap
from das.engine.read import read
from das.errors import CapabilityError
from das.featurizers.identity import Identity
from das.featurizers.rotation import Rotation
from das.featurizers.sae import Sae
from das.gates.sigmoid_mask import SigmoidMask
from das.gates.subset import Subset
from das.geometry import orthonormality_residual, random_orthonormal
from das.interventions.base import Intervention
from das.methods import method
from das.models.families import ModelView
from das.types import Site
from tests.families import tiny_ids, tiny_model
from tests.parity.cases import CASES
from tests.parity.peer import pv, reft
from tests.parity.runs import (
    LAYER,
    LOGITS,
    READ,
    ROWS,
    WRITTEN,
    Runs,
    Spot,
    far,
    inputs,
    model,
    prompts,
    wrap,
)

WIDTH = 8


def runs_at(*spots: Spot, family: str = "llama-gqa") -> Runs:
    return Runs(family, spots, prompts(0), {"source": prompts(1)})


def activations(positions: int = 1, width: int = WIDTH) -> torch.Tensor:
    """Base and source, (2, B, P, width)."""
    return torch.randn(2, ROWS, positions, width)


def swapped(ours: Intervention, base: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    return ours.eval()(base, {"source": source}).activation


# Sites


def test_a_swap_covers_heads_that_are_wider_than_width_over_heads():
    runs = runs_at(Spot(Site(LAYER, "query_output"), WRITTEN, READ), family="llama-wide-heads")
    config = model("llama-wide-heads").config
    guessed, true = config.hidden_size, config.num_attention_heads * config.head_dim
    theirs = pv.IntervenableModel(
        {"layer": LAYER, "component": "query_output", "intervention_type": pv.VanillaIntervention},
        model("llama-wide-heads"),
    )
    assert [int(i.embed_dim) for i in theirs.interventions.values()] == [guessed] != [true]
    wanted = runs.theirs(list(theirs.interventions.values()))
    whole = runs.ours([method("full_vector")(width=true)])
    part = runs.ours([Intervention(Identity(true), Swap(), Subset(true, range(guessed)))])
    assert far(wanted, part) <= LOGITS, "pyvene leaves the last columns as they were"
    assert far(wanted, whole) > 10 * LOGITS


def test_keys_and_values_have_the_width_of_their_own_heads():
    representation = {"layer": LAYER, "component": "value_output", "intervention_type": pv.RotatedSpaceIntervention}
    theirs = pv.IntervenableModel(representation, model("llama-gqa"))
    where = {"sources->base": ([READ], [WRITTEN])}
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        theirs(inputs(prompts(0)), [inputs(prompts(1))], where)
    assert ModelView(model("llama-gqa")).bind(Site(LAYER, "value_output")).width == 16


def test_padding_does_not_move_positions():
    """pyvene passes on what it is given, so with a mask alone positions are columns; das takes them from the mask."""
    ids, mask = tiny_ids(ROWS, 6), torch.ones(ROWS, 6).long()
    plain, padded = ({"input_ids": pad(ids, side), "attention_mask": pad(mask, side)} for side in ((0, 3), (3, 0)))
    theirs = wrap("gpt2", [Site(LAYER)], [pv.ZeroIntervention()])
    right = theirs(plain, unit_locations={"base": 4})[1].logits[:, 4]
    left = theirs(padded, unit_locations={"base": 7})[1].logits[:, 7]
    assert far(right, left) > 100 * LOGITS
    zero = CASES["Zero"].ours(32)
    right, left = (
        Runs(
            "gpt2", (Spot(Site(LAYER), [[column]] * ROWS),), TokenBatch(x["input_ids"], x["attention_mask"] > 0), {}
        ).ours([zero])[:, 0]
        for x, column in ((plain, 4), (padded, 7))
    )
    assert far(right, left) <= LOGITS


# State between calls


def test_one_call_does_not_change_the_next():
    runs = runs_at(Spot(Site(LAYER), WRITTEN, READ))
    theirs = wrap("llama-gqa", [Site(LAYER)], [pv.VanillaIntervention()])
    base, sources = inputs(runs.base), [inputs(runs.sources["source"])]
    per_row = {"sources->base": ([READ], [WRITTEN])}
    before = theirs(base, sources, per_row)[1].logits
    theirs(base, sources, {"sources->base": 4})  # one position for all rows: pyvene never goes back
    after = theirs(base, sources, per_row)[1].logits
    assert far(before[0], after[0]) == 0 and far(before[1:], after[1:]) > 100 * LOGITS
    ours = method("full_vector")(width=32)
    first = runs.ours([ours])
    runs_at(Spot(Site(LAYER), [[4]] * ROWS, [[4]] * ROWS)).ours([ours])
    assert torch.equal(first, runs.ours([ours]))


def test_tied_interventions_each_edit_their_own_activation():
    spots = [Spot(Site(layer), WRITTEN, READ) for layer in (0, 1)]
    theirs, ours = CASES["LowRankRotatedSpace"].pair(32)
    runs = runs_at(*spots)
    apart = runs.theirs([theirs, theirs])
    linked = runs.theirs([theirs, theirs], intervention_link_key=0)
    tied = runs.ours([ours, ours])
    assert far(tied, apart) <= LOGITS
    assert far(linked, apart) > 100 * LOGITS, "pyvene writes the first site's result at the second"


def test_what_the_caller_gave_is_left_alone():
    theirs = wrap("llama-gqa", [Site(0), Site(1)], [pv.VanillaIntervention(), pv.VanillaIntervention()])
    base, sources = inputs(prompts(0)), [inputs(prompts(1))]
    theirs(base, sources, {"sources->base": 4})
    assert len(sources) == 2, "pyvene lengthens the caller's list"
    given = {key: torch.zeros(ROWS, 1, 32) for key in theirs.sorted_keys}
    theirs(base, None, {"sources->base": (None, [WRITTEN] * 2)}, source_representations=given)
    assert given == {}, "and empties the caller's dictionary"
    with pytest.raises(RuntimeError, match="in-place"):
        pv.VanillaIntervention()(torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3))
    h, s = activations()
    before = h.clone()
    swapped(method("full_vector")(width=WIDTH), h, s)
    assert torch.equal(h, before)
    pv.VanillaIntervention()(h, s)
    assert torch.equal(h, s), "and overwrites the caller's tensor"


def test_hooks_of_others_stay():
    net, ids, seen = tiny_model("llama-gqa"), tiny_ids(), []

    def watched() -> tuple[int, int]:
        seen.clear()
        states = net(ids, output_hidden_states=True).hidden_states
        return len(seen), len(states)

    handle = net.model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    assert watched() == (1, 4)
    view = ModelView(net)
    spot = Spot(Site(LAYER), [[1], [2]])
    read(view, TokenBatch(ids, torch.ones_like(ids).bool()), [(view.bind(spot.site), spot.writes())])
    assert watched() == (1, 4)
    theirs = pv.IntervenableModel({"layer": LAYER, "intervention_type": pv.ZeroIntervention}, net)
    theirs({"input_ids": ids}, unit_locations={"base": 1})
    assert watched() == (0, 0), "pyvene removes every hook, and with transformers' own the hidden states"
    handle.remove()


def test_a_missing_source_is_an_error():
    runs = runs_at(Spot(Site(LAYER), WRITTEN, READ))
    theirs = wrap("llama-gqa", [Site(LAYER)], [pv.VanillaIntervention()])
    _, out = theirs(inputs(runs.base), [None], {"sources->base": ([READ], [WRITTEN])})
    assert torch.equal(runs.pick(out.logits), runs.clean()), "pyvene silently does nothing"
    with pytest.raises(CapabilityError, match="a swap needs its source's activations"):
        method("full_vector")(width=WIDTH)(activations()[0])


# Rotations


def test_weight_decay_does_not_erase_the_basis():
    theirs, ours = CASES["LowRankRotatedSpace"].pair(WIDTH)
    base, source = activations()
    for one in (theirs, ours):
        optimizer = torch.optim.AdamW(one.parameters(), lr=1e-3, weight_decay=0.01)
        result = swapped(ours, base, source) if one is ours else theirs(base, source)
        result.square().sum().backward()
        optimizer.step()
    ours.retract()
    assert float(theirs.rotate_layer.weight.detach().abs().max()) == 0, "one step of AdamW, and pyvene's basis is zero"
    assert orthonormality_residual(ours.featurizer.basis) <= 1e-5


def test_a_low_rank_basis_has_no_square_matrix_and_runs_in_bfloat16():
    theirs, ours = CASES["LowRankRotatedSpace"].pair(WIDTH)
    assert max(b.numel() for b in theirs.buffers() if b.ndim) == WIDTH * WIDTH
    assert max(p.numel() for p in ours.state_dict().values()) == 3 * WIDTH
    base, source = activations().bfloat16()
    with pytest.raises(NotImplementedError, match="orgqr"):
        theirs.bfloat16()(base, source)
    assert swapped(ours.bfloat16(), base, source).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["BoundlessRotatedSpace", "SigmoidMaskRotatedSpace"])
def test_a_mask_over_coordinates_is_not_laid_over_rows(name):
    theirs, ours = CASES[name].pair(WIDTH, several=True)
    base, source = activations(positions=2)
    with pytest.raises(RuntimeError, match="must match the size of tensor"):
        theirs(base, source)
    one = theirs(base[:, :1], source[:, :1])
    assert one.shape == (ROWS, ROWS, WIDTH), "one position: pyvene crosses rows with rows"
    assert swapped(ours, base, source).shape == base.shape


# Masks and subspaces


def test_the_boundary_can_swap_a_coordinate_in_full():
    theirs, _ = CASES["BoundlessRotatedSpace"].pair(WIDTH)
    theirs.set_temperature(torch.tensor(1e-3))
    theirs.set_intervention_boundaries(0.45)  # 3.6 of 8 coordinates
    ours = method("boundless", start=50.0, end=1e-3)(width=WIDTH)
    ours.featurizer.weight.data.copy_(theirs.rotate_layer.weight)
    ours.gate.boundary.data.fill_(0.45)
    rotation = ours.featurizer.basis
    base, source = activations()

    def shares(result: torch.Tensor) -> torch.Tensor:
        return ((result - base) @ rotation / ((source - base) @ rotation))[0, 0].detach()

    assert far(shares(theirs(base[:, 0], source[:, 0])[:, None]), torch.tensor([0.5, 1, 1, 1, 0, 0, 0, 0])) <= 1e-4
    assert far(shares(swapped(ours, base, source)), torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])) <= 1e-4


def test_temperatures_are_set_and_not_learned():
    theirs = wrap("llama-gqa", [Site(LAYER)] * 2, [CASES[n].theirs(32) for n in ("BoundlessRotatedSpace",) * 2])
    learned = [name for name, _ in theirs.named_parameters() if name.endswith("temperature")]
    assert len(learned) == 2, "an optimiser of pyvene's parameters moves the temperature"
    rotated = pv.SigmoidMaskRotatedSpaceIntervention(embed_dim=32)
    wrap("llama-gqa", [Site(LAYER)], [rotated]).set_temperature(torch.tensor(1.0))
    assert rotated.temperature.item() == 50.0, "pyvene's schedule does not reach the rotated mask"
    with pytest.raises(AttributeError, match="intervention_boundaries"):
        rotated.get_boundary_parameters()
    for name in ("boundless", "rotated_dbm", "dbm"):
        assert not [n for n, _ in method(name)(width=WIDTH).named_parameters() if "temperature" in n]
    gate = method("rotated_dbm", start=50.0, end=1.0)(width=WIDTH).gate
    assert [gate.temperature.at(p) for p in (0.0, 1.0)] == [50.0, 1.0]


def test_a_mask_is_hard_after_training():
    theirs, ours = CASES["SigmoidMask"].pair(WIDTH)
    base, source = activations()
    hard = torch.where(theirs.mask > 0, source, base)
    with pytest.warns(UserWarning, match="To copy construct from a tensor"):
        assert far(theirs(base, source), hard) > 0.1
    assert far(swapped(ours, base, source), hard) <= 1e-6
    soft = Intervention(Identity(WIDTH), Swap(), SigmoidMask(WIDTH, 2.0, 2.0, hard=False))
    soft.gate.load_state_dict(ours.gate.state_dict())
    with pytest.warns(UserWarning):
        assert far(swapped(soft, base, source), theirs(base, source)) <= 1e-6, "softness is an option"


def test_a_row_gets_its_own_subspace_at_every_position():
    base, source = torch.zeros(2, 2, 4), torch.ones(2, 2, 4)
    got = pv.VanillaIntervention()(base.clone(), source, [[0], [3]])
    wanted = base.clone()
    wanted[0, :, 0] = wanted[1, :, 3] = 1.0
    crossed = base.clone()
    crossed[:, 0, 0] = crossed[:, 1, 3] = 1.0
    assert torch.equal(got, crossed), "pyvene takes the list's axis for positions"
    ours = method("multi_source_das", sources=("first", "second"), sizes=(1, 1))(width=4)
    ours.featurizer.weight.data = torch.eye(4)[:, [0, 3]]
    rows = torch.tensor([0, 1])[:, None, None]
    per_row = {"first": torch.where(rows == 0, source, base), "second": torch.where(rows == 1, source, base)}
    assert torch.equal(ours(base, per_row).activation, wanted)


def test_blocks_may_differ_in_size():
    theirs = pv.LowRankRotatedSpaceIntervention(
        embed_dim=WIDTH, low_rank_dimension=3, subspace_partition=[[0, 1], [1, 3]]
    )
    base, source = activations()
    with pytest.raises(RuntimeError, match="equal size"):
        theirs(base[:2, 0], source[:2, 0], [[0], [1]])
    ours = method("multi_source_das", sources=("first", "second"), sizes=(1, 2))(width=WIDTH)
    assert ours(base, {"first": source, "second": base}).activation.shape == base.shape


# What coordinates do not cover


def test_what_principal_directions_do_not_cover_stays():
    rows = random_orthonormal(WIDTH, 2).T
    theirs = pv.PCARotatedSpaceIntervention(
        embed_dim=WIDTH, pca=SimpleNamespace(components_=rows.numpy()), pca_mean=[0.0] * WIDTH, pca_std=[1.0] * WIDTH
    )
    ours = Intervention(Rotation(WIDTH, 2, basis=rows.T), Swap())
    base, source = activations()
    assert far(theirs(base, source) @ rows.T, swapped(ours, base, source) @ rows.T) <= 1e-5, "inside they agree"
    assert far(theirs(base, base), base) > 0.5, "pyvene drops the rest"
    assert torch.equal(swapped(ours, base, base), base)


def autoencoders():
    """(theirs, the latents it exchanges, ours with the same weights and latents)."""
    latents = 12
    one = pv.AutoencoderIntervention(embed_dim=WIDTH, latent_dim=latents)
    encoder, decoder = one.autoencoder.encoder[0], one.autoencoder.decoder[0]
    weights = {"w_enc": encoder.weight.T, "b_enc": encoder.bias, "w_dec": decoder.weight.T, "b_dec": decoder.bias}
    yield one, [WIDTH], Sae(WIDTH, latents, "relu", subtract_decoder_bias=True, tensors=weights)
    two = pv.JumpReLUAutoencoderIntervention(embed_dim=WIDTH, low_rank_dimension=latents)
    for parameter in two.parameters():
        torch.nn.init.normal_(parameter)
    weights = {"w_enc": two.W_enc, "b_enc": two.b_enc, "w_dec": two.W_dec, "b_dec": two.b_dec}
    weights["threshold"] = two.threshold.data.abs_()
    yield two, list(range(WIDTH)), Sae(WIDTH, latents, "jumprelu", tensors=weights)


@pytest.mark.parametrize("which", [0, 1], ids=["Autoencoder", "JumpReLUAutoencoder"])
def test_an_autoencoder_keeps_what_it_cannot_reconstruct(which):
    theirs, exchanged, sae = list(autoencoders())[which]
    base, source = activations()
    assert far(theirs(base, base), base) > 0.1, "pyvene writes the reconstruction"
    change = (theirs(base, source) - theirs(base, base)).detach()
    part = Intervention(sae, Swap(), Subset(sae.rank, exchanged))
    assert far(base + change, swapped(part, base, source)) <= 1e-5, "changes agree"
    assert torch.equal(swapped(part, base, base), base)
    whole = swapped(Intervention(sae, Swap()), base, source)
    assert len(exchanged) < sae.rank and far(base + change, whole) > 0.05, "pyvene counts latents by the width"


def test_noise_is_what_was_asked_for():
    theirs = pv.NoiseIntervention(embed_dim=WIDTH, noise_level=2.0)
    assert float(theirs.noise_level) < 0.2, "pyvene reads another keyword, noise_leve"
    with pytest.raises(RuntimeError, match="must match the size of tensor"):
        theirs(torch.zeros(2, 3, WIDTH))


# pyreft


def test_reft_runs_on_a_float32_model_as_made():
    theirs = reft.LoreftIntervention(embed_dim=WIDTH, low_rank_dimension=2)
    with pytest.raises(RuntimeError, match="must have the same dtype"):
        theirs(torch.randn(2, 1, WIDTH))
    assert method("loreft", rank=2)(width=WIDTH)(torch.randn(2, 1, WIDTH)).activation.dtype == torch.float32


def test_reft_computes_in_float32_on_a_bfloat16_model():
    base = activations()[0].bfloat16()
    theirs, ours = CASES["LoReFT"].pair(WIDTH)
    exact = ours(base.double()).activation
    theirs.learned_source.bfloat16()
    rotated = theirs.rotate_layer(base)
    got = base + (theirs.learned_source(base) - rotated) @ theirs.rotate_layer.weight.T
    assert far(got, exact) > 10 * far(ours(base.float()).activation, exact)
    assert torch.equal(theirs(base), got.bfloat16())


def test_reft_leaves_out_dropout_of_the_activation():
    """pyreft drops entries of the edited activation, the model's own among them, and scales up the others."""
    base = torch.ones(2, 1, WIDTH)
    theirs = reft.LobireftIntervention(embed_dim=WIDTH, low_rank_dimension=1, dropout=0.5)
    theirs.learned_source.data.zero_()
    assert set(theirs.train()(base).detach().flatten().tolist()) == {0.0, 2.0}
    ours = method("lobireft", rank=1)(width=WIDTH)
    ours.edit.value.data.zero_()
    assert torch.equal(ours.train()(base).activation, base)


def test_nodireft_has_no_parameter_without_effect():
    theirs = reft.NodireftIntervention(embed_dim=WIDTH, low_rank_dimension=2, add_bias=True, dtype=torch.float32)
    ours = method("nodireft", rank=2)(width=WIDTH)
    base = activations()[0]
    theirs(base).square().sum().backward()
    ours(base).activation.square().sum().backward()
    assert [n for n, p in theirs.named_parameters() if p.grad is None] == ["proj_layer.bias"]
    assert all(p.grad is not None for p in ours.parameters())


def test_noreft_with_a_second_bias_is_noreft():
    theirs = reft.NoreftIntervention(embed_dim=WIDTH, low_rank_dimension=2, add_bias=True, dtype=torch.float32)
    ours = method("noreft", rank=2)(width=WIDTH)
    with torch.no_grad():
        ours.featurizer.weight.copy_(theirs.proj_layer.weight)
        ours.edit.weight.copy_(theirs.learned_source.weight)
        ours.edit.bias.copy_(theirs.learned_source.bias - theirs.proj_layer.bias)
    base = activations()[0]
    assert far(theirs(base), ours(base).activation) <= 1e-5


def test_the_readme_lists_these_tests():
    readme = Path(__file__).with_name("README.md").read_text()
    here = {name for name in globals() if name.startswith("test_")} - {"test_the_readme_lists_these_tests"}
    assert here == set(re.findall(r"`(test_\w+)` \|", readme))
