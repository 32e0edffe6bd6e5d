"""Watched sites: activations of the intervened run with their gradient, the same in every tier, in declared order."""

from __future__ import annotations

import pytest
import torch

from das.engine.engine import Engine
from das.engine.tiers import prepare
from das.interventions.sets import InterventionSet
from das.methods.full_vector import full_vector
from das.methods.steering_vector import steering_vector
from das.types import Site
from tests.engine.pairs import RandomPairs
from tests.families import tiny_model

WRITE = Site(1)
#: Out of forward order; the written site itself, later ones, an earlier one, and one inside a block.
WATCH = (Site(2), Site(1), Site(2, "mlp_output"), Site(0), Site(2, "block_input"))


def watched(family: str, tier: str, side: str = "left"):
    """Outputs of one batch, the vector that is added, and the batch."""
    torch.manual_seed(0)
    model, added = tiny_model(family), InterventionSet([(WRITE, steering_vector(32))])
    data = RandomPairs(4, [[], *([] for _ in WATCH)], side, 3)
    ready = prepare(Engine(model, added.placements, WATCH), data, tier=tier, batch_size=2)
    assert ready.tier == tier, ready.reason
    batch = data.collate([3, 0, 1])
    return ready.outputs(batch, added), added[0].featurizer.vector, batch


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["llama-gqa", "gpt2", "gemma2"])
def test_the_same_activations_and_gradients_in_every_tier(family, side):
    found = {}
    for tier in ("hooks", "prefix", "all"):
        outputs, vector, _ = watched(family, tier, side)
        assert len(outputs.watched) == len(WATCH)
        total = sum(torch.where(w.mask[..., None], w.activation.square(), 0.0).sum() for w in outputs.watched[:3])
        [gradient] = torch.autograd.grad(total, vector)
        found[tier] = [*(w.activation[w.mask] for w in outputs.watched), gradient]
    for tier in ("prefix", "all"):
        for want, have in zip(found["hooks"], found[tier], strict=True):
            assert torch.allclose(want, have, rtol=1e-4, atol=1e-5)
    assert float(found["hooks"][-1].norm()) > 0


@pytest.mark.parametrize("tier", ["hooks", "all"])
def test_what_is_watched_is_what_plain_hooks_see(tier):
    """Against the model run by hand, with the vector added by a hook of its own."""
    outputs, vector, batch = watched("llama-gqa", tier)
    model, seen = tiny_model("llama-gqa"), {}

    def add(module, args, output):
        shift = torch.zeros_like(output)
        where = batch.writes[0]
        row, slot = where.mask.nonzero(as_tuple=True)
        shift[row, where.index[row, slot]] = vector.detach()
        return output + shift

    handles = [model.model.layers[1].register_forward_hook(add)]
    for i, site in enumerate(WATCH):
        layer = model.model.layers[site.layer]
        if site.component == "block_input":
            keep = lambda m, args, i=i: seen.__setitem__(i, args[0])  # noqa: E731
            handles.append(layer.register_forward_pre_hook(keep))
        else:
            module = layer.mlp if site.component == "mlp_output" else layer
            handles.append(module.register_forward_hook(lambda m, args, out, i=i: seen.__setitem__(i, out)))
    base = batch.base
    model(base.ids, attention_mask=base.mask.long(), position_ids=base.position_ids)
    for handle in handles:
        handle.remove()
    for i, (got, where) in enumerate(zip(outputs.watched, batch.writes[1:], strict=True)):
        row, slot = where.mask.nonzero(as_tuple=True)
        assert torch.equal(got.mask, where.mask)
        assert torch.allclose(got.activation[row, slot], seen[i][row, where.index[row, slot]], atol=1e-5), WATCH[i]


def test_sites_below_the_edit_are_watched_too_and_have_no_gradient():
    outputs, _, _ = watched("llama-gqa", "all")
    assert [w.activation.requires_grad for w in outputs.watched] == [True, True, True, False, True]


def test_nothing_is_watched_unless_it_is_asked_for():
    model, data = tiny_model("llama-gqa"), RandomPairs(2, [["source"]])
    swap = InterventionSet([(WRITE, full_vector(32))])
    engine = Engine(model, swap.placements)
    batch = data.collate([0, 1])
    assert engine.outputs(batch, swap, engine.sources(batch)).watched == ()
