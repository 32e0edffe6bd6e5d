"""What steering does to activations, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import final

import pytest
import torch

from das.edits.add import Add
from das.edits.mean_top_k import MeanTopK
from das.edits.swap import Swap
from das.errors import ArtifactError, CapabilityError, EngineError, InputError, SiteError, UnknownChoiceError
from das.featurizers.identity import Identity
from das.featurizers.rotation import Rotation
from das.gates.base import Gate
from das.gates.sigmoid_mask import SigmoidMask
from das.interventions.base import Intervention
from das.steering.steer import steer
from das.types import Site
from tests.families import tiny_ids, tiny_model
from tests.steering.conftest import LEVEL

FAMILIES = ("llama-gqa", "gemma2", "gpt2", "gpt_neox", "qwen3", "phi3-mqa")


def hidden(model, ids, layer=2, **kwargs):
    return model(ids, output_hidden_states=True, **kwargs).hidden_states[layer]


def hooks(model):
    return [key for m in model.modules() for key in (*m._forward_hooks, *m._forward_pre_hooks)]


def level(rank=2, sign=1.0):
    return sign * LEVEL + 0.1 * torch.arange(rank)


@pytest.mark.parametrize("name", FAMILIES)
def test_clamp_sets_the_coordinates_and_leaves_the_complement(name, family, make_subspace, coordinates):
    model, ids = family(name), tiny_ids()
    subspace = make_subspace(model, "all")
    before = hidden(model, ids)
    with steer(model, subspace, -2.0):
        after = hidden(model, ids)
    torch.testing.assert_close(
        coordinates(subspace, after), (2 * level(sign=-1)).expand(2, 20, 2), atol=1e-4, rtol=1e-4
    )
    basis = subspace.basis()
    rest = torch.eye(32) - basis @ basis.T
    torch.testing.assert_close(after @ rest, before @ rest, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_removal_restores_bit_identical_logits(name, family, make_subspace, generated):
    model, ids = family(name), tiny_ids()
    hidden(model, ids)  # transformers registers hooks of its own at the first request, for good
    weights, registered = {k: v.clone() for k, v in model.state_dict().items()}, hooks(model)
    before, attributes = model(ids).logits, set(vars(model))
    logits = generated(model, {"input_ids": ids})[0]
    with steer(model, make_subspace(model), 1):
        assert not torch.equal(model(ids).logits, before)
        assert not torch.equal(generated(model, {"input_ids": ids})[0], logits)
    assert torch.equal(model(ids).logits, before)
    assert torch.equal(generated(model, {"input_ids": ids})[0], logits)
    assert set(vars(model)) == attributes
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert hooks(model) == registered
    assert all(p.grad is None for p in model.parameters())


def test_steering_is_active_at_once_and_removed_once(llama, make_subspace):
    ids = tiny_ids()
    before = llama(ids).logits
    steering = steer(llama, make_subspace(llama), 1)
    assert steering.active and "active" in repr(steering) and steering.positions == ("all",)
    assert not torch.equal(llama(ids).logits, before)
    steering.remove()
    steering.remove()
    assert not steering.active and "removed" in repr(steering)
    assert torch.equal(llama(ids).logits, before)
    with pytest.raises(InputError, match="removed"):
        steering.generate(["Tim"])


def test_an_error_in_the_block_removes_the_steering(llama, make_subspace):
    before = llama(tiny_ids()).logits
    with pytest.raises(ZeroDivisionError), steer(llama, make_subspace(llama), 1):
        raise ZeroDivisionError
    assert torch.equal(llama(tiny_ids()).logits, before)


def test_an_error_in_a_forward_leaves_nothing_for_the_next(llama, make_subspace):
    ids = tiny_ids()
    with steer(llama, make_subspace(llama, "last"), 1):
        expected = llama(ids).logits
        with pytest.raises(IndexError):
            llama(torch.full((2, 4), 10**6))
        with pytest.raises(EngineError, match="outside a forward"):
            llama.model(ids)
        assert torch.equal(llama(ids).logits, expected)


def test_factors_per_row_equal_rows_alone(llama, make_subspace):
    ids, subspace = tiny_ids(3), make_subspace(llama)
    factors = [1.0, -1.0, 2.5]
    with steer(llama, subspace, torch.tensor(factors)):
        together = llama(ids).logits
    for i, factor in enumerate(factors):
        with steer(llama, subspace, factor):
            torch.testing.assert_close(llama(ids[i : i + 1]).logits[0], together[i], atol=1e-4, rtol=1e-4)


def test_rows_that_are_no_multiple_of_the_factors(llama, make_subspace):
    with (
        steer(llama, make_subspace(llama), [1.0, -1.0]),
        pytest.raises(InputError, match="3 rows and 2 factors"),
    ):
        llama(tiny_ids(3))


def test_add_carries_the_negative_mean_to_the_positive_one(llama, make_subspace, coordinates):
    ids, subspace = tiny_ids(), make_subspace(llama)
    z = coordinates(subspace, hidden(llama, ids))
    with steer(llama, subspace, -0.5, op="add"):
        after = coordinates(subspace, hidden(llama, ids))
    torch.testing.assert_close(after, z - LEVEL, atol=1e-4, rtol=1e-4)


def test_ablation_zeroes_the_coordinates_alone(llama, make_subspace, coordinates):
    ids, subspace = tiny_ids(), make_subspace(llama, factors=False)
    before = hidden(llama, ids)
    with steer(llama, subspace, op="ablate"):
        after = hidden(llama, ids)
    assert coordinates(subspace, after).abs().max() < 1e-5
    rest = torch.eye(32) - subspace.basis() @ subspace.basis().T
    torch.testing.assert_close(after @ rest, before @ rest, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [0.7, torch.tensor([0.7]), [0.7]])
def test_value_sets_raw_coordinates(llama, make_subspace, coordinates, value):
    ids, subspace = tiny_ids(), make_subspace(llama, rank=1, factors=False)
    before = coordinates(subspace, hidden(llama, ids))
    with steer(llama, subspace, value=value):
        torch.testing.assert_close(
            coordinates(subspace, hidden(llama, ids)), torch.full((2, 20, 1), 0.7), atol=1e-5, rtol=1e-5
        )
    with steer(llama, subspace, value=value, op="add"):
        torch.testing.assert_close(coordinates(subspace, hidden(llama, ids)), before + 0.7, atol=1e-5, rtol=1e-5)


def test_as_trained_uses_the_methods_own_edit(llama, make_subspace, coordinates):
    def shifted(width, rank):
        return Intervention(Rotation(width, rank), Add(rank, torch.ones(rank)), name="shift")

    ids, subspace = tiny_ids(), make_subspace(llama, make=shifted, factors=False)
    before = coordinates(subspace, hidden(llama, ids))
    with steer(llama, subspace, 2.0) as steering:
        assert steering.op == "as_trained"
        torch.testing.assert_close(coordinates(subspace, hidden(llama, ids)), before + 2, atol=1e-4, rtol=1e-4)


def test_several_sites_are_all_steered(llama, make_subspace):
    ids, sites = tiny_ids(), (Site(0, "mlp_output", "all"), Site(1, "block_output", "from:3"))
    subspace = make_subspace(llama, "all", *sites)
    with steer(llama, subspace, 1):
        state = hidden(llama, ids, 2)
    basis = subspace.basis(1)
    at_level = ((state @ basis) - level()).abs().amax(-1) < 1e-3
    assert at_level[:, 3:].all() and not at_level[:, :3].any()
    with steer(llama, replace(subspace, factors=(None, None)), op="ablate", positions="from:0"):
        assert (hidden(llama, ids, 2) @ basis).abs().max() < 1e-4


def test_stacked_steerings_apply_in_order_and_leave_in_any_order(llama, make_subspace, coordinates):
    ids, plain = tiny_ids(), make_subspace(llama, factors=False)
    before = llama(ids).logits

    def z():
        return coordinates(plain, hidden(llama, ids))

    first = steer(llama, plain, value=[1.0, 1.0])
    second = steer(llama, plain, value=[2.0, 0.0], op="add")
    third = steer(llama, plain, value=[0.0, 5.0], op="add")
    torch.testing.assert_close(z()[0, 0], torch.tensor([3.0, 6.0]), atol=1e-4, rtol=1e-4)
    first_again = steer(llama, plain, value=[7.0, 7.0])
    torch.testing.assert_close(z()[0, 0], torch.tensor([7.0, 7.0]), atol=1e-4, rtol=1e-4)
    first_again.remove()
    second.remove()
    torch.testing.assert_close(z()[0, 0], torch.tensor([1.0, 6.0]), atol=1e-4, rtol=1e-4)
    first.remove()
    assert not torch.allclose(z()[0, 0], torch.tensor([1.0, 6.0]), atol=1e-2)
    third.remove()
    assert torch.equal(llama(ids).logits, before) and "generate" not in vars(llama)


def test_generate_of_the_instance_is_given_back(llama, make_subspace):
    def mine(*args, **kwargs):
        return type(llama).generate(llama, *args, **kwargs)

    llama.generate = mine
    try:
        with steer(llama, make_subspace(llama), 1), steer(llama, make_subspace(llama), 1):
            assert llama.generate is not mine
        assert llama.generate is mine
    finally:
        del llama.generate


def test_steering_is_deterministic(llama, make_subspace, generated):
    rows = {"input_ids": tiny_ids()}
    runs = []
    for _ in range(2):
        with steer(llama, make_subspace(llama, "all"), 1):
            runs.append(generated(llama, rows)[0])
    assert torch.equal(*runs)


def test_bf16_model(make_subspace, coordinates):
    model = tiny_model("llama-gqa", dtype=torch.bfloat16)
    subspace = make_subspace(model)
    with steer(model, subspace, 1):
        after = hidden(model, tiny_ids())
    assert after.dtype == torch.bfloat16
    torch.testing.assert_close(coordinates(subspace, after)[0, 0], level(), atol=0.15, rtol=0.05)


def test_the_artifact_is_not_touched(llama, make_subspace):
    subspace = make_subspace(llama)
    basis, edit = subspace.basis().clone(), subspace.interventions.interventions[0].edit
    with steer(llama, subspace, 1):
        llama(tiny_ids())
    assert torch.equal(subspace.basis(), basis) and subspace.interventions.interventions[0].edit is edit


def test_another_model_is_refused(llama, make_subspace):
    other = tiny_model("llama-gqa", seed=1)
    with pytest.raises(ArtifactError, match=r"belongs to another model.*allow_model_mismatch=True"):
        steer(other, make_subspace(llama), 1)
    with steer(other, make_subspace(llama), 1, allow_model_mismatch=True):
        other(tiny_ids())


def test_a_gate_that_training_closed_is_an_error_and_not_a_steering_without_effect(llama, make_subspace):
    def closed(width, rank):
        return Intervention(Rotation(width, rank), Swap(), SigmoidMask(rank, init=-1.0), name="dbm")

    with pytest.raises(CapabilityError, match=r"'dbm' leaves no coordinate open.*smaller intervention.weight"):
        steer(llama, make_subspace(llama, make=closed))


@pytest.mark.parametrize("factor", [0, 0.0, float("nan"), float("inf"), [1.0, 0.0], [], [[1.0]]])
def test_unusable_factors(llama, make_subspace, factor):
    with pytest.raises(InputError, match="steering factor must") as error:
        steer(llama, make_subspace(llama), torch.tensor(factor) if factor == [[1.0]] else factor)
    assert "got" in str(error.value).lower()


def test_adding_nothing_is_nothing(llama, make_subspace):
    ids = tiny_ids()
    before = llama(ids).logits
    with steer(llama, make_subspace(llama), [0.0, 1.0], op="add"):
        after = llama(ids[:2]).logits
    assert torch.allclose(after[0], before[0], atol=1e-6) and not torch.allclose(after[1], before[1], atol=1e-3)


def test_what_a_method_cannot_do(llama, make_subspace):
    subspace = make_subspace(llama, factors=False)
    with pytest.raises(CapabilityError, match=r"no factors.*value="):
        steer(llama, subspace, 1)
    with pytest.raises(CapabilityError, match=r"cannot be steered with 'as_trained'.*clamp, add, ablate"):
        steer(llama, subspace, op="as_trained")
    with pytest.raises(CapabilityError, match=r"cannot be steered with 'typo'"):
        steer(llama, subspace, op="typo")
    with pytest.raises(CapabilityError, match="operation 'ablate' has no factor"):
        steer(llama, subspace, 2.0, op="ablate")
    with pytest.raises(InputError, match="value= replaces the factor"):
        steer(llama, subspace, 2.0, value=[1.0, 1.0])
    with pytest.raises(InputError, match=r"rank 2.*shape \(2,\)"):
        steer(llama, subspace, value=1.0)
    with pytest.raises(InputError, match="takes no value"):
        steer(llama, subspace, op="ablate", value=[1.0, 1.0])
    assert "generate" not in vars(llama) and not llama._forward_pre_hooks


@final
class Pooled(Gate):
    """Opens by the mean over all positions."""

    scope = "sequence"

    def forward(self, z, h, ctx):
        return z.mean(1, keepdim=True).sigmoid(), {}

    def params(self):
        return {}


def test_methods_that_look_at_whole_sequences_cannot_be_steered(llama, make_subspace):
    def shared(width, rank):
        return Intervention(Rotation(width, rank), MeanTopK(), steering={"again": MeanTopK()}, name="odd")

    with pytest.raises(CapabilityError, match="whole sequence"):
        steer(llama, make_subspace(llama, make=shared), op="again")


def test_gates_that_compare_the_tokens_of_a_prompt_steer_inside_it(llama, make_subspace):
    def pooled(width, rank):
        return Intervention(Rotation(width, rank), Add(rank, torch.ones(rank), learned=True), Pooled(), name="odd")

    ids, subspace = tiny_ids(), make_subspace(llama, make=pooled)
    for positions in ("all", "generated", "from:3"):
        with pytest.raises(CapabilityError, match=f"tokens of a prompt.*{positions}.*positions='prompt'"):
            steer(llama, subspace, op="as_trained", positions=positions)
    before = hidden(llama, ids)
    with steer(llama, subspace, op="as_trained", positions="prompt"):
        now = hidden(llama, ids)
    torch.testing.assert_close(now, subspace.interventions[0](before).activation)
    alone = subspace.interventions[0](before[:, :1]).activation
    assert not torch.allclose(now[:, :1], alone, atol=1e-3), "the tokens were not seen together"


def test_a_method_brings_its_own_way_to_steer(llama, make_subspace, coordinates):
    def pushed(width, rank):
        return Intervention(Rotation(width, rank), Swap(), steering={"push": Add(rank, unit="maximum")}, name="mine")

    ids, subspace = tiny_ids(), make_subspace(llama, make=pushed)
    before = coordinates(subspace, hidden(llama, ids))
    with steer(llama, subspace, 2.0) as steering:
        assert steering.op == "push"
        now = coordinates(subspace, hidden(llama, ids))
    torch.testing.assert_close(now, before + 2 * subspace.factors[0].maximum, atol=1e-4, rtol=1e-4)


def test_a_steering_that_is_never_removed_does_not_keep_its_model(make_subspace):
    model = tiny_model("llama-gqa", seed=3)
    gone = weakref.ref(model)
    steering = steer(model, make_subspace(model), 1)
    assert steering.active
    del model, steering
    gc.collect()
    assert gone() is None


def test_wrong_positions_and_sites_leave_the_model_alone(llama, make_subspace):
    with pytest.raises(UnknownChoiceError, match="unknown position"):
        steer(llama, make_subspace(llama), 1, positions="lats")
    with pytest.raises(SiteError):
        steer(llama, make_subspace(llama, "all", Site(9, "block_output", "all")), 1)
    assert "generate" not in vars(llama) and not llama._forward_pre_hooks


def test_neurons_can_be_clamped(llama, make_subspace):
    def neurons(width, rank):
        return Intervention(Identity(width), Add(width), name="neurons")

    subspace = make_subspace(llama, make=neurons, factors=False)
    with steer(llama, subspace, value=torch.arange(32.0)):
        torch.testing.assert_close(hidden(llama, tiny_ids())[1, 4], torch.arange(32.0), atol=1e-4, rtol=1e-4)
