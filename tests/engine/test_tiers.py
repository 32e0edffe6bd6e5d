"""Every tier's loss and gradient equal those of the `hooks` tier, on every family (fp32, <= 1e-5 relative)."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import pytest
import torch

from das.batch import Positions
from das.context import Context
from das.edits.base import Edit
from das.edits.swap import Swap
from das.engine.engine import Engine
from das.engine.tiers import prepare
from das.errors import EngineError
from das.featurizers.rotation import Rotation
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet, Placement
from das.methods.das import das
from das.methods.full_vector import full_vector
from das.models.families import ModelView
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.jsd import JSD
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.families import FAMILIES, LAYERS, tiny_model

TOLERANCE = 1e-5
LAST = LAYERS - 1
SITES = {
    "block_output": [Site(1)],
    "block_input_first": [Site(0, "block_input")],
    "last_block": [Site(LAST)],
    "mlp_output": [Site(1, "mlp_output")],
    "attention_value_output": [Site(1, "attention_value_output")],
    "one_query_head": [Site(1, "head_query_output", heads=(1,))],
    "keys_and_values": [Site(1, "key_output"), Site(1, "value_output")],
    "four_sites": [Site(2, "block_input"), Site(1), Site(1, "attention_output"), Site(2, "mlp_hidden")],
}


def made(model, sites, sources=None):
    """Swaps of three random coordinates, the same ones every time."""
    torch.manual_seed(1)
    view = ModelView(model)
    entries = []
    for site, source in zip(sites, sources or ["source"] * len(sites), strict=True):
        swap = Intervention(Rotation(view.bind(site).width, 3), Swap(source))
        entries.append((Placement(site, {source: site}), swap))
    return InterventionSet(entries)


def step(model, sites, data, rows, tier, objective, sources=None):
    interventions = made(model, sites, sources)
    prepared = prepare(
        Engine(model, interventions.placements), data, runs=objective.needs.runs, tier=tier, batch_size=3
    )
    assert prepared.tier == tier, prepared.reason
    return outcome(interventions, prepared, data.collate(rows), objective)


def outcome(interventions, prepared, batch, objective):
    """Loss and gradients of one step."""
    loss = objective(prepared.outputs(batch, interventions), batch).total
    loss.backward()
    return loss.detach(), [p.grad for p in interventions.parameters() if p.requires_grad]


def assert_same(expected, got):
    assert torch.allclose(got[0], expected[0], rtol=TOLERANCE, atol=1e-7), (expected[0], got[0])
    floor = 1e-3 * max(float(g.norm()) for g in expected[1])
    for want, have in zip(expected[1], got[1], strict=True):
        error = float((want - have).norm() / max(float(want.norm()), floor, 1e-9))
        assert error <= TOLERANCE, error


#: Label tokens, and the lowest position written (0 leaves some rows without a prefix).
CASES = {name: ((1, 0),) if i % 2 else ((2, 9),) for i, name in enumerate(SITES)}
CASES["block_output"] = CASES["four_sites"] = ((1, 0), (2, 9))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_families(family, side):
    model = tiny_model(family)
    for name, sites in SITES.items():
        for labels, lowest in CASES[name]:
            written = "last" if name == "last_block" else 2  # nothing later reads earlier tokens of the last block
            data = RandomPairs(4, [["source"]] * len(sites), side, written, labels, lowest)
            rows = [2, 0, 3]
            objective = JSD() if labels == 2 else CounterfactualCE()
            expected = step(model, sites, data, rows, "hooks", objective)
            assert max(float(g.norm()) for g in expected[1]) > 0, name
            for tier in ("all", "prefix"):
                try:
                    assert_same(expected, step(model, sites, data, rows, tier, objective))
                except AssertionError as error:
                    raise AssertionError(f"{family} {side} {name} labels={labels} {tier}: {error}") from error


@pytest.mark.parametrize("family", ["llama-gqa", "mistral", "gpt2"])
def test_in_double_precision_they_agree_to_its_rounding(family):
    """What the tolerance above leaves room for is rounding: one query head's gradient is 1e-6 of the loss."""
    model = tiny_model(family, dtype=torch.float64)
    for name, sites in SITES.items():
        data = RandomPairs(5, [["source"]] * len(sites), "right", "last" if name == "last_block" else 2)
        found = []
        for tier in ("hooks", "all", "prefix"):
            interventions = made(model, sites).double()
            ready = prepare(Engine(model, interventions.placements), data, tier=tier, batch_size=2)
            _, gradients = outcome(interventions, ready, data.collate([2, 0, 3]), CounterfactualCE())
            found.append(torch.cat([g.flatten() for g in gradients]))
        for other in found[1:]:
            assert float((other - found[0]).norm() / found[0].norm()) < 1e-10, name


@pytest.mark.parametrize("tier", ["all", "prefix"])
def test_several_sources_in_one_pass(tier):
    model, sites = tiny_model("qwen3"), [Site(0), Site(1), Site(2, "block_input")]
    names = ("source", "other", "source")
    data = RandomPairs(4, [[name] for name in names], written=2)
    expected = step(model, sites, data, [1, 3, 0], "hooks", JSD(), names)
    assert_same(expected, step(model, sites, data, [1, 3, 0], tier, JSD(), names))
    swapped = RandomPairs(4, [["other"], ["source"], ["other"]], written=2)
    different = step(model, sites, swapped, [1, 3, 0], "hooks", JSD(), ("other", "source", "other"))
    assert not torch.allclose(expected[0], different[0]), "sources must not be mixed up"


@pytest.mark.parametrize("family", ["llama-gqa", "gemma2", "gpt2", "gpt_neox"])
def test_padding_side_and_batching_do_not_change_the_result(family):
    model = tiny_model(family)
    results = []
    for side in ("left", "right"):
        data = RandomPairs(4, [["source"]], side, 2, 1, 3)
        together = step(model, [Site(1)], data, [0, 1, 2, 3], "all", CounterfactualCE())
        alone = [step(model, [Site(1)], data, [row], "all", CounterfactualCE()) for row in range(4)]
        results += [together, (torch.stack([a[0] for a in alone]).mean(), [sum(a[1][0] for a in alone) / 4])]
    for other in results[1:]:
        assert_same(results[0], other)


def test_half_precision_models_train_a_full_precision_subspace():
    for dtype in (torch.bfloat16, torch.float16):
        model = tiny_model("llama-gqa", dtype=dtype)
        data = RandomPairs(4, [["source"]], written="last")
        losses = [step(model, [Site(1)], data, [0, 2], tier, JSD()) for tier in ("hooks", "all")]
        assert all(g.dtype == torch.float32 and torch.isfinite(g).all() for _, grads in losses for g in grads)
        assert torch.allclose(losses[0][0], losses[1][0], rtol=0.05)


def test_swapping_the_whole_last_block_gives_the_sources_logits():
    for family in FAMILIES:
        model = tiny_model(family)
        data = RandomPairs(3, [["source"]], written="last", ragged=False)
        interventions = InterventionSet([(Site(LAST), full_vector(ModelView(model).width))])
        engine = Engine(model, interventions.placements)
        batch = data.collate([0, 1, 2])
        # written and read at the last prompt token, which is what the label position is
        reads = tuple({"source": Positions(batch.target_positions, batch.label_mask)} for _ in batch.reads)
        batch = replace(batch, reads=reads)
        sources = engine.sources(batch, frozenset({"target"}))
        outputs = engine.outputs(batch, interventions, sources)
        assert torch.allclose(outputs.logits, outputs.runs["target"], atol=1e-5), family


def test_nothing_is_left_behind_after_a_run_or_an_error():
    model = tiny_model("llama-gqa")
    data = RandomPairs(3, [["source"]], written="last")
    batch = data.collate([0, 1])
    before = model(batch.base.ids, attention_mask=batch.base.mask.long()).logits
    step(model, [Site(1)], data, [0, 1], "all", CounterfactualCE())
    interventions = InterventionSet([(Site(1), das(32, 2))])
    engine = Engine(model, interventions.placements)
    ready = prepare(engine, data, tier="all")
    interventions.interventions[0].featurizer.weight.data = torch.ones(
        5, 2
    )  # the wrong width: fails inside the forward
    with pytest.raises(RuntimeError):
        ready.outputs(batch, interventions)
    with pytest.raises(RuntimeError):
        engine.outputs(batch, interventions, engine.sources(batch))
    assert torch.equal(model(batch.base.ids, attention_mask=batch.base.mask.long()).logits, before)
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and "forward" not in module.__dict__
    assert all(p.grad is None for p in model.parameters())


def test_the_budget_decides_the_tier_and_says_why():
    model, data = tiny_model("llama-gqa"), RandomPairs(6, [["source"]], written="last")
    engine = Engine(model, InterventionSet([(Site(1), das(32, 2))]).placements)
    light = (6 + 1) * 32 * 4  # a token of every row and one of zeros
    chosen = [prepare(engine, data, budget_bytes=b) for b in (1 << 30, light, 10)]
    assert [c.tier for c in chosen] == ["all", "prefix", "hooks"]
    assert all("budget" in c.reason for c in chosen)
    assert chosen[0].nbytes > chosen[1].nbytes > chosen[2].nbytes == 0


def test_models_that_cannot_be_resumed_fall_back_visibly(caplog):
    model, data = tiny_model("gpt2"), RandomPairs(3, [["source"]], written="last")
    engine = Engine(model, InterventionSet([(Site(1), das(32, 2))]).placements)
    handle = model.transformer.h[0].register_forward_hook(lambda *_: None)
    with caplog.at_level("INFO", logger="das.engine"):
        assert prepare(engine, data, tier="all").tier == "hooks"
    assert "somebody else's hooks" in caplog.text
    handle.remove()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train()
    assert "dropout" in prepare(engine, data).reason


def test_a_hook_that_never_fires_is_an_error():
    model, data = tiny_model("llama-gqa"), RandomPairs(3, [["source"]], written="last")
    interventions = InterventionSet([(Site(1), das(32, 2))])
    engine = Engine(model, interventions.placements)
    batch = data.collate([0, 1])
    sources = engine.sources(batch)
    model.model.layers[1].forward = lambda hidden_states, *a, **k: hidden_states
    model.model.layers[1].__class__.__call__, kept = (lambda m, h, *a, **k: h), model.model.layers[1].__class__.__call__
    try:
        with pytest.raises(EngineError, match="did not fire"):
            engine.outputs(batch, interventions, sources)
    finally:
        model.model.layers[1].__class__.__call__ = kept


def test_only_label_positions_reach_the_head():
    model, data = tiny_model("llama-gqa"), RandomPairs(3, [["source"]], written="last", labels=2)
    seen = []
    handle = model.lm_head.register_forward_hook(lambda m, args, out: seen.append(tuple(args[0].shape[:2])))
    step(model, [Site(1)], data, [0, 1, 2], "hooks", JSD())
    handle.remove()
    assert seen and all(shape == (3, 2) for shape in seen if shape != (1, 2)), "(1, 2): trying the head out, once"


@final
class Spy(Edit):
    """Swaps, remembers what it was told, and reports the mean of its coordinates."""

    sources = ("source",)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Context] = []

    def forward(self, z, h, sources, ctx):
        self.seen.append(ctx)
        return sources["source"].expand_as(z), {"mean": z.mean()}

    def params(self):
        return {}


@pytest.mark.parametrize("tier", ["all", "prefix", "hooks"])
def test_parts_are_told_about_their_rows_and_are_heard(tier):
    model = tiny_model("llama-gqa")
    data = RandomPairs(6, [["source"], ["source"]], side="left", written=4)
    spies = [Spy(), Spy()]
    entries = [(Site(layer), Intervention(Rotation(32, 2), spy)) for layer, spy in zip((1, 2), spies, strict=True)]
    interventions = InterventionSet(entries)
    ready = prepare(Engine(model, interventions.placements), data, tier=tier, batch_size=2)
    batch = replace(data.collate([3, 0, 5]), per_row={"concept": torch.tensor([1.0, 2.0, 3.0])})
    batch = replace(batch, factor=torch.tensor([1.0, -1.0, 2.0]))
    outputs = ready.outputs(batch, interventions, 0.25)
    assert len(outputs.aux) == 2 and all(set(aux) == {"mean"} for aux in outputs.aux)
    assert outputs.reported("mean") == [outputs.aux[0]["mean"], outputs.aux[1]["mean"]]
    for spy, write, read in zip(spies, batch.writes, batch.reads, strict=True):
        [ctx] = spy.seen
        assert ctx.progress == 0.25 and torch.equal(ctx.factor, batch.factor)
        assert torch.equal(ctx.per_row["concept"], batch.per_row["concept"])
        assert torch.equal(ctx.token_mask, write.mask) and not bool(write.mask.all()), "rows differ in length"
        assert torch.equal(ctx.source_masks["source"], read["source"].mask)
        real = batch.base.position_ids.gather(1, write.index)
        assert torch.equal(ctx.position_ids[write.mask], real[write.mask])


@pytest.mark.parametrize("tier", ["all", "prefix", "hooks"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_reference_run_is_the_base_without_an_intervention(tier, side):
    model = tiny_model("gemma2")
    data = RandomPairs(5, [["source"]], side=side, labels=3)
    interventions = InterventionSet([(Site(1), das(32, 2))])
    engine = Engine(model, interventions.placements)
    runs = frozenset({"reference", "target"})
    ready = prepare(engine, data, tier=tier, runs=runs, batch_size=2)
    batch = data.collate([4, 1, 2])
    outputs = ready.outputs(batch, interventions)
    assert torch.allclose(outputs.run("reference", "test"), engine.clean(batch).logits, atol=1e-5)
    assert not torch.allclose(outputs.run("reference", "test"), outputs.logits, atol=1e-3)
    assert not torch.allclose(outputs.run("reference", "test"), outputs.run("target", "test"), atol=1e-3)


def test_somebody_elses_hook_deep_in_a_block_is_seen():
    model = tiny_model("llama-gqa")
    engine, data = Engine(model, made(model, [Site(1)]).placements), RandomPairs(3, [["source"]])
    handle = ModelView(model).blocks[2].mlp.register_forward_hook(lambda *_: None)
    assert prepare(engine, data).tier == "hooks"
    handle.remove()
    assert prepare(engine, data).tier == "all"
