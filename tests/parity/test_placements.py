"""Several heads, sources and sites at once, and what pyvene has that is a composition in das."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from das.batch import TokenBatch
from das.edits.add import Add
from das.edits.add_positions import AddPositions
from das.edits.swap import Swap
from das.engine.read import read
from das.estimators.base import Examples
from das.featurizers.identity import Identity
from das.featurizers.rotation import Rotation
from das.interventions.base import Intervention
from das.interventions.sets import Placement
from das.methods import method
from das.models.families import ModelView
from das.types import Site
from tests.parity.cases import CASES, differentiable, gradients
from tests.parity.peer import pv
from tests.parity.runs import (
    COMPONENTS,
    GRADIENT,
    LAYER,
    LOGITS,
    READ,
    ROWS,
    SEVERAL,
    WRITTEN,
    Runs,
    Spot,
    far,
    inputs,
    model,
    prompts,
    wrap,
)

FAMILIES = ("llama-gqa", "llama-wide-heads", "gpt2")


def width_of(family: str, site: Site) -> int:
    return ModelView(model(family)).bind(site).width


def two(spots, family="llama-gqa") -> Runs:
    return Runs(family, tuple(spots), prompts(0), {"first": prompts(1), "second": prompts(2)})


@pytest.mark.parametrize("component", ["head_attention_value_output", "head_query_output", "head_key_output"])
@pytest.mark.parametrize("family", FAMILIES)
def test_two_heads_form_one_activation(family, component):
    site = Site(LAYER, component, heads=(1, 0))
    runs = Runs(family, (Spot(site, WRITTEN, READ),), prompts(0), {"source": prompts(1)})
    clean = runs.clean()
    for name in ("Vanilla", "RotatedSpace", "LowRankRotatedSpace"):
        theirs, ours = CASES[name].pair(width_of(family, site))
        wanted = runs.theirs([theirs])
        assert far(wanted, clean) > 20 * LOGITS and far(wanted, runs.ours([ours])) <= LOGITS, name


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_may_differ_per_row(family):
    """pyvene takes heads per row; in das one intervention is placed once per head and leaves the other rows alone."""
    site, heads = Site(LAYER, "head_attention_value_output"), (3, 0, 2)
    spots = [Spot(replace(site, heads=(h,)), WRITTEN, READ, rows=range(r, r + 1)) for r, h in enumerate(heads)]
    runs = Runs(family, tuple(spots), prompts(0), {"source": prompts(1)})
    theirs, ours = CASES["LowRankRotatedSpace"].pair(width_of(family, spots[0].site))
    wrapped = wrap(family, [spots[0].site], [theirs])
    per_row = [[h] for h in heads]
    where = {"sources->base": ([[per_row, READ]], [[per_row, WRITTEN]])}
    wanted = runs.pick(wrapped(inputs(runs.base), [inputs(runs.sources["source"])], where)[1].logits)
    assert far(wanted, runs.clean()) > 20 * LOGITS
    assert far(wanted, runs.ours([ours] * ROWS)) <= LOGITS


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_several_sites_and_sources(family, resumed):
    spots = [
        Spot(Site(0, "block_output"), WRITTEN, READ, "first"),
        Spot(Site(1, "mlp_activation"), [[4], [2], [7]], [[1], [3], [0]], "second"),
        Spot(Site(1, "block_output"), [[5], [6], [2]]),
        Spot(Site(2, "head_value_output", heads=(1,)), [[3], [4], [6]], [[8], [5], [3]], "second"),
    ]
    names = ("LowRankRotatedSpace", "SigmoidMask", "LoReFT", "RotatedSpace")
    runs = two(spots, family)
    pairs = [CASES[n].pair(width_of(family, s.site)) for n, s in zip(names, spots, strict=True)]
    for spot, (_, ours) in zip(spots, pairs, strict=True):
        if ours.edit.sources:
            ours.edit.sources = (spot.source,)
    probe = torch.randn(runs.clean().shape)
    with differentiable(*(theirs for theirs, _ in pairs)):
        wanted = runs.theirs([theirs for theirs, _ in pairs])
        got = runs.ours([ours for _, ours in pairs], resumed)
        assert far(wanted, got) <= LOGITS
        for logits in (wanted, got):
            (logits * probe).sum().backward()
        for name, (theirs, ours) in zip(names, pairs, strict=True):
            for parameter, x, y in gradients(CASES[name], theirs, ours):
                assert far(x, y) <= GRADIENT * float(x.abs().max()), (name, parameter)


SIZES = (2, 2)


def blocks(width: int):
    """One rotation with a block of coordinates per source, both ways."""
    theirs = pv.LowRankRotatedSpaceIntervention(
        embed_dim=width, low_rank_dimension=sum(SIZES), subspace_partition=[[0, 2], [2, 4]]
    )
    ours = method("multi_source_das", sources=("first", "second"), sizes=SIZES)(width=width)
    with torch.no_grad():
        ours.featurizer.weight.copy_(theirs.rotate_layer.weight)
    return theirs, ours


@pytest.mark.parametrize("family", FAMILIES)
def test_two_sources_in_disjoint_subspaces_of_one_site(family):
    site, other = Site(LAYER), [[6], [3], [2]]
    theirs, ours = blocks(width_of(family, site))
    runs = two([Spot(site, WRITTEN, READ, "first"), Spot(site, WRITTEN, other, "second")], family)
    wanted = runs.theirs([theirs, theirs], [[[0]] * ROWS, [[1]] * ROWS], intervention_link_key=0)
    both = two([Spot(site, WRITTEN, {"first": READ, "second": other})], family)
    assert far(wanted, runs.clean()) > 20 * LOGITS
    assert far(wanted, both.ours([ours])) <= LOGITS


def test_subspaces_may_differ_per_row():
    """pyvene names a block per row; in das a source that is the base itself leaves its block alone."""
    theirs, ours = blocks(width_of("llama-gqa", Site(LAYER)))
    base, source, chosen = prompts(0), prompts(1), torch.tensor([0, 1, 0])
    runs = Runs("llama-gqa", (Spot(Site(LAYER), WRITTEN, READ),), base, {"source": source})
    wanted = runs.theirs([theirs], [chosen[:, None].tolist()])
    sources, read = {}, {}
    for block, name in enumerate(("first", "second")):
        takes = (chosen == block)[:, None]
        sources[name] = TokenBatch(torch.where(takes, source.ids, base.ids), base.mask)
        read[name] = torch.where(takes, torch.tensor(READ), torch.tensor(WRITTEN)).tolist()
    composed = Runs("llama-gqa", (Spot(Site(LAYER), WRITTEN, read),), base, sources)
    assert far(wanted, runs.clean()) > 20 * LOGITS
    assert far(wanted, composed.ours([ours])) <= LOGITS


@pytest.mark.parametrize("family", FAMILIES)
def test_collecting_is_reading(family):
    tokens = prompts(0)
    for component in COMPONENTS:
        spot = Spot(Site(LAYER, component, heads=(1, 0) if component.startswith("head_") else None), SEVERAL[0])
        wrapped = wrap(family, [spot.site], [pv.CollectIntervention(keep_last_dim=True)])
        (_, [wanted]), _ = wrapped(inputs(tokens), unit_locations={"base": [spot.units(SEVERAL[0])]})
        view = ModelView(model(family))
        [got] = read(view, tokens, [(view.bind(spot.site), spot.writes())])
        if spot.site.heads:
            wanted = wanted.transpose(1, 2).flatten(2)
        assert far(wanted, got) <= 1e-5, component


@pytest.mark.parametrize("family", FAMILIES)
def test_skipping_is_writing_what_was_read_before_the_module(family):
    for before, after in (("block_input", "block_output"), ("mlp_input", "mlp_output")):
        runs = Runs(family, (Spot(Site(LAYER, after), WRITTEN, WRITTEN),), prompts(0), {"source": prompts(0)})
        wanted = runs.theirs([pv.SkipIntervention()])
        width = width_of(family, Site(LAYER, after))
        skip = Placement(Site(LAYER, after), {"source": Site(LAYER, before)})
        got = runs.ours([method("full_vector")(width=width)], placements=[skip])
        assert far(wanted, runs.clean()) > 20 * LOGITS and far(wanted, got) <= LOGITS


def test_noise_is_a_constant_per_position():
    """pyvene's noise lies on the first four positions of a prompt, the same for every row."""
    width = width_of("llama-gqa", Site(LAYER))
    theirs = pv.NoiseIntervention(embed_dim=width)
    noise = (theirs.noise[0] * theirs.noise_level).float()
    ours = Intervention(Identity(width), AddPositions(width, 4, value=noise))
    base = prompts(0)
    first = base.mask.long().argmax(1)[:, None] + torch.arange(4)
    runs = Runs("llama-gqa", (Spot(Site(LAYER), first.tolist()),), base, {})
    wanted = runs.theirs([theirs])
    assert far(wanted, runs.clean()) > 20 * LOGITS and far(wanted, runs.ours([ours])) <= LOGITS


@pytest.mark.parametrize(("name", "sign"), [("Addition", 1), ("Subtraction", -1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_adding_a_source_is_reading_it_first(family, name, sign):
    site, source = Site(LAYER, "attention_output"), prompts(1)
    runs = Runs(family, (Spot(site, WRITTEN, READ),), prompts(0), {"source": source})
    wanted = runs.theirs([getattr(pv, f"{name}Intervention")()])
    view = ModelView(model(family))
    [values] = read(view, source, [(view.bind(site), runs.spots[0].reads("source"))])
    spots = tuple(Spot(site, WRITTEN, rows=range(r, r + 1)) for r in range(ROWS))
    width = values.shape[-1]
    added = [Intervention(Identity(width), Add(width, sign * value[0])) for value in values]
    assert far(wanted, runs.clean()) > 20 * LOGITS
    assert far(wanted, replace(runs, spots=spots).ours(added)) <= LOGITS


@pytest.mark.parametrize(
    ("family", "path"),
    [("llama-gqa", "model.layers{}.mlp.down_proj"), ("gpt2", "transformer.h{}.mlp.c_proj")],
)
def test_module_paths(family, path):
    spot = Spot(Site(None, path.format(".1"), side="input"), WRITTEN, READ)
    runs = Runs(family, (spot,), prompts(0), {"source": prompts(1)})
    ours = method("full_vector")(width=width_of(family, spot.site))
    theirs = replace(runs, spots=(replace(spot, site=Site(0, path.format("[1]") + ".input")),))
    wanted = theirs.theirs([pv.VanillaIntervention()])
    hidden = replace(runs, spots=(replace(spot, site=Site(1, "mlp_hidden")),))
    assert far(wanted, runs.clean()) > 20 * LOGITS
    assert far(wanted, runs.ours([ours])) <= LOGITS and far(wanted, hidden.ours([ours])) <= LOGITS


def test_the_pca_estimator_is_pyvenes_with_unit_scales():
    width, rank = 8, 2
    x = torch.randn(50, width) @ torch.diag(torch.linspace(3.0, 0.3, width))
    ours = method("pca", rank=rank).fit(Examples.of(x, torch.arange(50) % 2))
    rows = torch.linalg.svd(x - x.mean(0)).Vh.numpy()
    theirs = pv.PCARotatedSpaceIntervention(
        embed_dim=width, pca=SimpleNamespace(components_=rows), pca_mean=x.mean(0).numpy(), pca_std=[1.0] * width
    )
    base, source = torch.randn(2, 5, 1, width)
    wanted = theirs(base, source, [list(range(rank))] * 5)
    assert far(wanted, base) > 0.1
    assert far(wanted, ours(base, {"source": source}).activation) <= 1e-5


def test_a_rotation_of_concatenated_positions_is_one_per_position():
    """By default pyvene rotates the concatenation of all positions; das' shared rotation is its block diagonal."""
    width, rank, rows = 8, 2, 4
    ours = Intervention(Rotation(width, rank), Swap())
    theirs = pv.LowRankRotatedSpaceIntervention(embed_dim=2 * width, low_rank_dimension=2 * rank)
    basis = ours.featurizer.weight.detach()
    theirs.rotate_layer.weight = torch.block_diag(basis, basis)
    base, source = torch.randn(2, rows, 2, width)
    wanted = pv.models.modeling_utils.do_intervention(base, source, theirs, None)
    assert far(wanted, base) > 0.1
    assert far(wanted, ours(base, {"source": source}).activation) <= 1e-5
