"""A folded model computes what the hooked one does, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, final

import pytest
import torch
from torch import Tensor, nn

import das
from das.artifacts.model_card import ModelCard
from das.artifacts.subspace import Subspace
from das.context import Context
from das.edits.add import Add
from das.edits.add_or_null import AddOrNull
from das.edits.affine import Affine
from das.edits.base import Edit
from das.edits.clamp import Clamp
from das.edits.scale import Scale
from das.edits.swap import Swap
from das.edits.zero import Zero
from das.errors import ArtifactError, CapabilityError, InputError
from das.factors import Factors
from das.featurizers.direction import Direction
from das.featurizers.identity import Identity
from das.featurizers.rotation import Rotation
from das.folding import fold as folding
from das.gates.base import Gate, GateResult
from das.gates.constant import Constant
from das.gates.subset import Subset
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.models.families import ModelView
from das.types import Site
from tests.families import LAYERS, tiny_ids, tiny_model

EVERYWHERE = "from:0"
IDS = tiny_ids()
WRITES = ("block_input", "attention_output", "mlp_output")

Entries = Sequence[tuple[Site, Intervention]]
Make = Callable[[nn.Module], Subspace]


@cache
def model_of(name: str) -> Any:
    return tiny_model(name)


def subspace(model: nn.Module, entries: Entries, factors: Factors | None = None) -> Subspace:
    placed = InterventionSet(entries).requires_grad_(False)
    return Subspace(placed, ModelCard.of(model), (factors,) * len(entries))


def at(component: str, edit: Callable[[int], Edit], layer: int | None = 1, **site: Any) -> Make:
    """A rank-2 edit at one site; `edit` is given the site's width."""

    def make(model: nn.Module) -> Subspace:
        where = Site(layer, component, EVERYWHERE, **site)
        width = ModelView(model).bind(where).width
        return subspace(model, [(where, Intervention(Rotation(width, 2), edit(width)))])

    return make


def everywhere(edit: Edit, components: Sequence[str], last: bool = False) -> Make:
    """One direction, at these components of every layer (and at the last block's output)."""

    def make(model: nn.Module) -> Subspace:
        shared = Intervention(Direction(32), edit)
        sites = [Site(layer, name, EVERYWHERE) for layer in range(LAYERS) for name in components]
        sites += [Site(LAYERS - 1, "block_output", EVERYWHERE)] if last else []
        return subspace(model, [(site, shared) for site in sites])

    return make


def several(model: nn.Module) -> Subspace:
    """Edits on both sides of the same matrices, two of them on the same columns, and shifts of the stream around."""

    def one(component: str, edit: Edit, layer: int = 1, **site: Any) -> tuple[Site, Intervention]:
        where = Site(layer, component, EVERYWHERE, **site)
        return where, Intervention(Rotation(ModelView(model).bind(where).width, 1), edit)

    head, width = "head_attention_value_output", ModelView(model).bind(Site(1, "attention_value_output")).width
    return subspace(
        model,
        [
            one("block_output", shift(1)),
            one("attention_output", Affine(32, 1)),
            one("attention_output", clamp(1)),
            one(head, shift(1), heads=(2,)),
            one("attention_value_output", Affine(width, 1)),
            one(head, clamp(1), heads=(0,)),
            one("mlp_hidden", Zero()),
            one("mlp_output", Affine(32, 1)),
            one("resid_mid", shift(1)),
            one("block_input", shift(1), layer=0),
        ],
    )


def shift(rank: int = 2) -> Add:
    return Add(rank, 2 * torch.randn(rank))


def clamp(rank: int = 2) -> Clamp:
    return Clamp(rank, 2 * torch.randn(rank))


@final
class Half(Gate):
    """Half of every change, but does not say that this is constant."""

    def forward(self, z: Tensor, h: Tensor, ctx: Context) -> GateResult:
        return z.new_full((1, 1, 1), 0.5), {}

    def params(self) -> dict[str, Any]:
        return {}


def hooked(model: Any, learned: Subspace, ids: Tensor = IDS, **how: Any) -> Tensor:
    with das.steer(model, learned, **how):
        return model(ids).logits


CASES: dict[str, Make] = {
    "ablation": everywhere(Zero(), WRITES),
    "clamp-stream": everywhere(Clamp(1, torch.tensor([1.5])), ("block_input", "resid_mid"), last=True),
    "attention_output-affine": at("attention_output", lambda width: Affine(width, 2)),
    "mlp_output-clamp": at("mlp_output", lambda _: clamp()),
    "mlp_output-scale": at("mlp_output", lambda _: Scale(1.5)),
    "query_output-scale": at("query_output", lambda _: Scale(20.0)),
    "mlp_hidden-affine": at("mlp_hidden", lambda width: Affine(width, 2)),
    "heads-shift": at("head_attention_value_output", lambda _: shift(), heads=(3, 1)),
    "head_value-clamp": at("head_value_output", lambda _: clamp(), heads=(1,)),
    "block_output-shift": at("block_output", lambda _: shift()),
    "first-input-shift": at("block_input", lambda _: shift(), layer=0),
    "resid_mid-shift": at("resid_mid", lambda _: shift()),
    "several": several,
}
CASES_OF = {
    "llama-gqa": tuple(CASES),
    "gpt2": ("ablation", "clamp-stream", "head_value-clamp", "first-input-shift", "several", "activation"),
    "llama-mqa": ("clamp-stream",),  # tied embeddings
    "llama-wide-heads": ("several",),
    "gpt_neox-sequential": ("several",),
    "gpt_neox": ("ablation", "block_output-shift"),  # parallel branches
    "mistral": ("ablation", "mlp_output-scale"),  # no biases
    "gemma": ("ablation", "first-input-shift"),  # scaled embeddings
    "gemma2": ("heads-shift",),  # norms after the branches
    "olmo2": ("attention_output-affine",),
    "phi3": ("query_output-scale",),  # fused projections
}
ALL = [(family, case) for family, cases in CASES_OF.items() for case in cases]
CASES["activation"] = at("mlp_activation", lambda width: Affine(width, 2))


@pytest.mark.parametrize(("family", "case"), ALL, ids=["-".join(c) for c in ALL])
def test_folded_logits_are_the_hooked_ones(family: str, case: str) -> None:
    model = model_of(family)
    learned, before = CASES[case](model), model(IDS).logits
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = das.fold(model, learned, op="as_trained")
    wanted = hooked(model, learned, op="as_trained")
    assert float((wanted - before).abs().max()) > 1e-3, "negative control: the edit does something"
    torch.testing.assert_close(folded(IDS).logits, wanted, atol=1e-5, rtol=0)
    assert torch.equal(model(IDS).logits, before)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    storages = {t.data_ptr() for t in model.state_dict().values()}
    assert storages.isdisjoint(t.data_ptr() for t in folded.state_dict().values()), "nothing is shared"


def test_ablation_is_orthogonalised_weights_to_the_last_digit() -> None:
    model = tiny_model("llama-mqa", dtype=torch.float64)
    learned = CASES["ablation"](model)
    direction = learned.interventions.double()[0].featurizer.vector
    direction.div_(direction.norm())
    by_hand = tiny_model("llama-mqa", dtype=torch.float64)
    by_hand.lm_head.weight = nn.Parameter(by_hand.lm_head.weight.clone())  # tied to the embedding so far
    project = torch.eye(32, dtype=torch.float64) - torch.outer(direction, direction)
    with torch.no_grad():
        by_hand.model.embed_tokens.weight.copy_(by_hand.model.embed_tokens.weight @ project)
        for layer in by_hand.model.layers:
            layer.self_attn.o_proj.weight.copy_(project @ layer.self_attn.o_proj.weight)
            layer.mlp.down_proj.weight.copy_(project @ layer.mlp.down_proj.weight)
    wanted = by_hand(IDS).logits
    torch.testing.assert_close(hooked(model, learned), wanted, atol=1e-12, rtol=0)
    torch.testing.assert_close(das.fold(model, learned)(IDS).logits, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("family", ["llama-mqa", "gpt2"])
def test_a_folded_model_is_saved_loaded_and_generates_as_the_steered_one(family, tmp_path) -> None:
    model = model_of(family)
    learned = CASES["clamp-stream" if family == "llama-mqa" else "several"](model)
    folded = das.fold(model, learned, op="as_trained")
    assert type(folded) is type(model)
    folded.save_pretrained(tmp_path)
    loaded = das.load_model(tmp_path)
    assert torch.equal(loaded(IDS).logits, folded(IDS).logits)
    assert model.config.tie_word_embeddings and not loaded.config.tie_word_embeddings
    how = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with das.steer(model, learned, op="as_trained"):
        wanted = model.generate(IDS, **how)
    assert torch.equal(loaded.generate(IDS, **how), wanted)
    with pytest.raises(ArtifactError, match="another model"):
        das.steer(loaded, learned)


def test_biases_that_a_shift_brings_are_in_the_config(tmp_path) -> None:
    model = model_of("llama-gqa")
    folded = das.fold(model, CASES["block_output-shift"](model))
    assert (folded.config.mlp_bias, folded.config.attention_bias, model.config.mlp_bias) == (True, False, False)
    assert float(folded.model.layers[1].mlp.down_proj.bias.norm()) > 0
    assert not folded.model.layers[0].mlp.down_proj.bias.any() and not folded.model.layers[1].mlp.up_proj.bias.any()
    folded.save_pretrained(tmp_path)
    assert torch.equal(das.load_model(tmp_path)(IDS).logits, folded(IDS).logits)


def test_factors_values_and_operations_are_those_of_steering() -> None:
    model, ones = model_of("gpt2"), torch.ones(2)
    learned = at("mlp_output", lambda _: Swap())(model)
    known = Factors(2 * ones, -ones, ones, ones, ones, (" she", " he"), 4, 1.0)
    learned = Subspace(learned.interventions, learned.model, (known,))
    ways: list[dict[str, Any]] = [
        {"factor": 1.5}, {"factor": -2.0}, {"value": [1.0, -3.0]}, {"op": "add", "factor": -1.0}, {"op": "ablate"},
    ]  # fmt: skip
    logits = [hooked(model, learned, **how) for how in ways]
    for how, wanted in zip(ways, logits, strict=True):
        torch.testing.assert_close(das.fold(model, learned, **how)(IDS).logits, wanted, atol=1e-5, rtol=0)
    assert min(float((a - b).abs().max()) for i, a in enumerate(logits) for b in logits[:i]) > 1e-3


def test_gates_that_are_constant_fold() -> None:
    model = model_of("llama-gqa")
    for gate in (Constant(0.3), Subset(2, [1])):
        part = Intervention(Rotation(32, 2), Zero(), gate)
        learned = subspace(model, [(Site(1, "mlp_output", EVERYWHERE), part)])
        torch.testing.assert_close(das.fold(model, learned)(IDS).logits, hooked(model, learned), atol=1e-5, rtol=0)


def test_trained_elsewhere_folds_only_when_every_token_is_meant() -> None:
    model = model_of("llama-gqa")
    part = Intervention(Rotation(32, 2), Zero())
    for positions, why in (("all", "protected prefix"), ("last", "not everywhere"), ("from:1", "not everywhere")):
        learned = subspace(model, [(Site(1, "mlp_output", positions), part)])
        with pytest.raises(CapabilityError, match=rf"weights act on every token.*{why}.*positions='from:0'"):
            das.fold(model, learned)
    folded = das.fold(model, learned, positions=EVERYWHERE)
    wanted = hooked(model, learned, positions=EVERYWHERE)
    torch.testing.assert_close(folded(IDS).logits, wanted, atol=1e-5, rtol=0)


def test_bf16_folds_to_within_its_rounding() -> None:
    model = tiny_model("llama-gqa", dtype=torch.bfloat16)
    exact = tiny_model("llama-gqa", dtype=torch.float64)
    exact.load_state_dict(model.state_dict())
    learned = CASES["ablation"](model)
    wanted = hooked(exact, Subspace(learned.interventions, ModelCard.of(exact), learned.factors))
    folded = das.fold(model, learned)
    assert folded.dtype == torch.bfloat16
    distances = [float((x.double() - wanted).norm()) for x in (folded(IDS).logits, hooked(model, learned))]
    assert distances[0] < 2 * distances[1] < 0.1 * float(wanted.norm())


def inputs(*interventions: Intervention) -> Make:
    """One intervention at every block's input: the last of those given from there on."""

    def make(model: nn.Module) -> Subspace:
        chosen = [interventions[min(n, len(interventions) - 1)] for n in range(LAYERS)]
        return subspace(model, [(Site(n, "block_input", EVERYWHERE), x) for n, x in enumerate(chosen)])

    return make


def zeroed(gate: Gate | None = None) -> Intervention:
    return Intervention(Direction(32), Zero(), gate)


NORM, HEAD = "model.layers.1.input_layernorm", "lm_head"
ONE_PROJECTION = "folds only as one projection"
REFUSED: dict[str, tuple[str, Make, str]] = {
    "one clamp in the stream": ("llama-gqa", at("block_output", lambda _: clamp()), "also read where it is not edited"),
    "loreft in the stream": ("gpt2", at("block_output", lambda width: Affine(width, 2)), ONE_PROJECTION),
    "half an ablation": (
        "gpt2",
        inputs(zeroed()),
        "got the MLP of layer 0, .*layer 2, the final norm",
    ),
    "two directions": ("gpt2", inputs(zeroed(), zeroed()), ONE_PROJECTION),
    "half the strength": ("gpt2", inputs(zeroed(Constant(0.5))), ONE_PROJECTION),
    "a shift among projections": ("gpt2", inputs(zeroed(), Intervention(Direction(32), shift(1))), ONE_PROJECTION),
    "shift behind a norm": ("gemma2", CASES["block_output-shift"], "norms what its blocks write"),
    "ablation behind a norm": ("olmo2", CASES["ablation"], "norms what its blocks write"),
    "no bias": ("mistral", CASES["heads-shift"], r"needs a bias.*got model\.layers\.1\.self_attn\.o_proj\.bias"),
    "gated activation": ("llama-gqa", CASES["activation"], "no weight is next to this site"),
    "input of a branch": ("llama-gqa", at("mlp_input", lambda _: Zero()), "no weight is next to this site"),
    "norm": ("llama-gqa", at(NORM, lambda _: Zero(), layer=None), "no weight is next to this site"),
    "tied head": ("llama-mqa", at(HEAD, lambda _: Zero(), layer=None, side="input"), "this weight is shared"),
    "nonlinear edit": ("gpt2", at("mlp_output", lambda _: AddOrNull()), "no affine function.*got AddOrNull"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_exact_is_refused(why: str) -> None:
    family, make, message = REFUSED[why]
    model = model_of(family)
    learned = make(model)
    with pytest.raises(CapabilityError, match=f"(?i){message}"):
        das.fold(model, learned, op="as_trained")


def test_other_refusals() -> None:
    model = model_of("gpt2")
    learned = at("mlp_output", lambda _: shift())(model)
    with pytest.raises(CapabilityError, match="same for all rows"):
        das.fold(model, learned, factor=[1.0, 2.0])
    with pytest.raises(CapabilityError, match="cannot be steered with 'as_trained'"):
        das.fold(model, at("mlp_output", lambda _: Swap())(model), op="as_trained")
    with pytest.raises(ArtifactError, match="another model"):
        das.fold(tiny_model("gpt2", seed=1), learned)
    with das.steer(model, learned), pytest.raises(InputError, match="is being steered"):
        das.fold(model, learned)


def test_featurizers_and_gates_that_look_at_the_activation_are_refused() -> None:
    model, site = model_of("gpt2"), Site(1, "mlp_output", EVERYWHERE)
    with pytest.raises(CapabilityError, match=r"is not linear.*Got Sae"):
        das.fold(model, subspace(model, [(site, das.method("sae", chosen=[3])(width=32))]), op="ablate")
    with pytest.raises(CapabilityError, match=r"depends on the activation.*Got Half"):
        das.fold(model, subspace(model, [(site, zeroed(Half()))]))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("size", [2.0, 0.05])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_fold_that_went_wrong_is_not_returned(monkeypatch, dtype, size, seed) -> None:
    """However small the steering's effect, and however coarse the weights: written nowhere, or half of it."""
    model, real = tiny_model("gpt2", dtype=dtype), folding.affine_map
    torch.manual_seed(seed)
    learned = at("mlp_output", lambda _: Add(2, size * torch.randn(2)))(model)
    assert torch.isfinite(das.fold(model, learned)(IDS).logits).all(), "the right one is"
    with monkeypatch.context() as patched:
        patched.setattr(folding, "rewrite", lambda module, steps: None)
        with pytest.raises(CapabilityError, match="does not compute what it does with hooks"):
            das.fold(model, learned)
    monkeypatch.setattr(folding, "affine_map", lambda x, factor: real(x, torch.tensor([0.5])))
    with pytest.raises(CapabilityError, match="does not compute what it does with hooks"):
        das.fold(model, learned)


def test_identity_coordinates_fold() -> None:
    model = model_of("gpt2")
    whole = Intervention(Identity(32), Affine(32, 32), steering={})
    learned = subspace(model, [(Site(2, "mlp_output", EVERYWHERE), whole)])
    torch.testing.assert_close(das.fold(model, learned)(IDS).logits, hooked(model, learned), atol=1e-5, rtol=0)
