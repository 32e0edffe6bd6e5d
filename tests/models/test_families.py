"""Every component of every family: it resolves, is as wide as it says, and is the tensor it is named after."""

import pytest
import torch
import transformers as hf
from torch import nn

from das.errors import ModelError, SiteError, UnknownChoiceError
from das.models.families import ModelView
from das.models.layouts import ALIASES, LAYOUTS, places
from das.types import Site
from tests.families import FAMILIES, LAYERS, WINDOW, tiny_ids, tiny_model

ALL = sorted(FAMILIES)
PARALLEL = "gpt_neox"
COMPONENTS = [*places(LAYOUTS["llama"]), *ALIASES]


def expected_components(family):
    return [c for c in COMPONENTS if not (family == PARALLEL and c == "resid_mid")]


def pick(activation, columns):
    if columns is None:
        return activation
    return activation[..., columns if isinstance(columns, slice) else list(columns)]


def test_the_layout_table_is_covered_by_tiny_models():
    covered = {config().model_type for config in FAMILIES.values()}
    assert covered == set(LAYOUTS) - {"gemma3"}, "gemma3 (with vision) has a test of its own"


@pytest.mark.parametrize("family", ALL)
def test_every_component_resolves_and_has_the_observed_width(family, family_model, probe):
    model = family_model(family)
    view = ModelView(model)
    assert list(view.components()) == expected_components(family)
    assert view.n_layers == LAYERS
    sites = [Site(layer, c) for layer in range(LAYERS) for c in view.components()]
    bounds = [view.bind(site) for site in sites]
    for bound, seen in zip(bounds, probe(model, tiny_ids(), *bounds), strict=True):
        assert seen.shape[:2] == tiny_ids().shape, bound
        assert pick(seen, bound.columns).shape[-1] == bound.width, bound
        assert model.get_submodule(bound.path) is bound.module
        assert bound.resumable
        assert bound.block == bound.site.layer + (bound.site.component in ("block_output", "resid_post"))
        assert bound.boundary == (bound.site.component in ("block_input", "block_output", "resid_pre", "resid_post"))


@pytest.mark.parametrize("family", ALL)
def test_parts_of_the_model(family, family_model, probe):
    """The final norm sees the last block's output, and the head turns what it puts out into logits."""
    model = family_model(family)
    view = ModelView(model)
    norm, head = (next(n for n, m in model.named_modules() if m is part) for part in (view.final_norm, view.head))
    before = view.bind(Site(component=norm, side="input"))
    after = view.bind(Site(component=norm))
    into = view.bind(Site(component=head, side="input"))
    last = view.bind(Site(LAYERS - 1, "block_output"))
    seen = probe(model, tiny_ids(), last, before, after, into)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3])
    assert [b.block for b in (last, before, after, into)] == [LAYERS] * 4
    assert [b.boundary for b in (last, before, after, into)] == [True, True, False, False]
    assert view.width == before.width == seen[0].shape[-1]
    assert view.head is model.get_output_embeddings()


@pytest.mark.parametrize("family", ALL)
def test_a_blocks_output_is_the_next_blocks_input(family, family_model, probe):
    model = family_model(family)
    view = ModelView(model)
    out, into = view.bind(Site(0, "block_output")), view.bind(Site(1, "block_input"))
    assert torch.equal(*probe(model, tiny_ids(), out, into))
    assert out.block == into.block == 1


@pytest.mark.parametrize("family", [f for f in ALL if f != PARALLEL])
def test_resid_mid_is_what_the_mlp_branch_is_added_to(family, family_model, probe):
    """Block input + branch + MLP branch == block output, where post-norm families norm the MLP branch too."""
    model = family_model(family)
    view = ModelView(model)
    for layer in range(LAYERS):
        mid = view.bind(Site(layer, "resid_mid"))
        assert mid.residual is view.blocks[layer] and not mid.boundary and mid.block == layer
        start, branch, mlp, end = probe(
            model,
            tiny_ids(),
            *(view.bind(Site(layer, c)) for c in ("block_input", "resid_mid", "mlp_output", "block_output")),
        )
        post = getattr(view.blocks[layer], "post_feedforward_layernorm", nn.Identity())
        torch.testing.assert_close(start + branch + post(mlp), end)


@pytest.mark.parametrize("family", ALL)
def test_heads_are_the_tensors_attention_uses(family, family_model, probe):
    """Recompute q, k, v of one block with the family's own reshaping and compare head by head."""
    model = family_model(family)
    view = ModelView(model)
    attention_input = view.bind(Site(1, "attention_input"))
    (hidden,) = probe(model, tiny_ids(), attention_input)
    for part, expected in manual_qkv(family, attention_input.module, hidden).items():
        count = expected.shape[2]
        bounds = [view.bind(Site(1, f"head_{part}_output", heads=(head,))) for head in range(count)]
        whole = view.bind(Site(1, f"{part}_output"))
        (seen,) = probe(model, tiny_ids(), whole)
        torch.testing.assert_close(pick(seen, whole.columns), expected.flatten(2))
        for head, bound in enumerate(bounds):
            assert bound.module is whole.module and not isinstance(bound.columns, tuple)
            torch.testing.assert_close(pick(seen, bound.columns), expected[:, :, head])
        with pytest.raises(SiteError, match=f"has {count} "):
            view.bind(Site(1, f"head_{part}_output", heads=(count,)))


def manual_qkv(family, attention, hidden):
    """q, k, v as (batch, tokens, heads, head_dim), following the modeling code of each family."""
    config = attention.config
    if family == "gpt2":
        split = attention.c_attn(hidden).split(config.hidden_size, dim=2)
        return {n: t.unflatten(-1, (config.n_head, -1)) for n, t in zip(("query", "key", "value"), split, strict=True)}
    if family.startswith("gpt_neox"):
        qkv = attention.query_key_value(hidden).unflatten(-1, (config.num_attention_heads, -1)).chunk(3, dim=-1)
        return dict(zip(("query", "key", "value"), qkv, strict=True))
    n, kv, dim = config.num_attention_heads, config.num_key_value_heads, attention.head_dim
    if family.startswith("phi3"):
        q, k, v = attention.qkv_proj(hidden).split([n * dim, kv * dim, kv * dim], dim=-1)
    else:
        q, k, v = attention.q_proj(hidden), attention.k_proj(hidden), attention.v_proj(hidden)
    return {"query": q.unflatten(-1, (n, dim)), "key": k.unflatten(-1, (kv, dim)), "value": v.unflatten(-1, (kv, dim))}


@pytest.mark.parametrize("family", ALL)
def test_a_head_of_the_mixed_values_is_one_heads_output(family, family_model, probe):
    """A head's columns of the output projection's input are its attention weights times its (grouped) values."""
    model = family_model(family)
    view = ModelView(model)
    whole = view.bind(Site(1, "attention_value_output"))
    n_heads = 4
    heads = [view.bind(Site(1, "z", heads=(h,))) for h in range(n_heads)]
    (mixed,) = probe(model, tiny_ids(), whole)
    assert whole.columns is None and sum(h.width for h in heads) == whole.width == mixed.shape[-1]
    parts = torch.cat([pick(mixed, h.columns) for h in heads], dim=-1)
    assert torch.equal(parts, mixed)
    values, weights = values_and_weights(family, model, probe)
    for h, head in enumerate(heads):
        torch.testing.assert_close(
            pick(mixed, head.columns), weights[:, h] @ values[:, :, h * values.shape[2] // n_heads]
        )


def values_and_weights(family, model, probe):
    """Values (batch, tokens, kv head, dim) of layer 1 and its attention weights (batch, head, query, key)."""
    view = ModelView(model)
    bound = view.bind(Site(1, "value_output"))
    (seen,) = probe(model, tiny_ids(), bound)
    width = view.bind(Site(1, "z", heads=(0,))).width
    eager = hf.AutoModelForCausalLM.from_config(model.config, attn_implementation="eager").eval()
    eager.load_state_dict(model.state_dict())
    with torch.no_grad():
        weights = eager(tiny_ids(), output_attentions=True).attentions[1]
    return pick(seen, bound.columns).unflatten(-1, (-1, width)), weights


def test_sliding_layers_are_exercised():
    assert tiny_ids().shape[1] > WINDOW


@pytest.mark.parametrize("family", ALL)
def test_several_heads_keep_the_order_asked_for(family, family_model, probe):
    view = ModelView(family_model(family))
    one, two = (view.bind(Site(0, "q", heads=(h,))) for h in (0, 2))
    both = view.bind(Site(0, "q", heads=(2, 0)))
    (seen,) = probe(family_model(family), tiny_ids(), both)
    assert isinstance(both.columns, tuple) and both.width == one.width + two.width == len(both.columns)
    expected = torch.cat([pick(seen, two.columns), pick(seen, one.columns)], dim=-1)
    assert torch.equal(pick(seen, both.columns), expected)


def test_neighbouring_heads_are_a_slice():
    view = ModelView(tiny_model("llama-wide-heads"))
    assert view.bind(Site(0, "q", heads=(1, 2))).columns == slice(12, 36)
    assert view.bind(Site(0, "head_query_output")).columns is None
    assert view.bind(Site(0, "q", heads=(0, 1, 2, 3))).columns is None


@pytest.mark.parametrize("family", ALL)
def test_named_components_equal_their_module_paths(family, family_model):
    """The free-form spelling of a whole-module component binds to the same place."""
    view = ModelView(family_model(family))
    for name in expected_components(family):
        named = view.bind(Site(1, name))
        free = view.bind(Site(component=named.path, side=named.side))
        assert (free.module, free.block, free.boundary, free.resumable) == (
            named.module,
            named.block,
            named.boundary,
            named.resumable,
        )
        if named.columns is None:
            assert free.width == named.width, name


@pytest.mark.parametrize("family", ALL)
def test_every_module_path_is_as_wide_as_it_says_or_refused(family, family_model, probe):
    """Whatever module and side binds, the width is the observed one; nothing is guessed."""
    model = family_model(family)
    view, bounds = ModelView(model), []
    for path, _ in model.named_modules():
        for side in ("input", "output") if path else ():
            try:
                bounds.append(view.bind(Site(component=path, side=side)))
            except SiteError as error:
                assert "width" in str(error) or "axis for heads" in str(error)
    for bound, seen in zip(bounds, probe(model, tiny_ids(), *bounds), strict=True):
        assert seen.shape == (*tiny_ids().shape, bound.width), bound
    assert len(bounds) > 20


@pytest.mark.parametrize("family", ALL)
def test_meta_and_bf16_models_bind_alike(family, family_model):
    view = ModelView(family_model(family))
    with torch.device("meta"):
        meta = ModelView(hf.AutoModelForCausalLM.from_config(FAMILIES[family]()))
    low = ModelView(tiny_model(family, dtype=torch.bfloat16))
    for name in expected_components(family):
        shapes = {
            (b.path, str(b.columns), b.width, b.block) for b in (v.bind(Site(2, name)) for v in (view, meta, low))
        }
        assert len(shapes) == 1


def test_embeddings_come_before_the_blocks():
    view = ModelView(tiny_model("gpt2"))
    bound = view.bind(Site(component="transformer.wte"))
    assert (bound.width, bound.block, bound.resumable, bound.boundary) == (32, 0, False, False)


def test_gemma3_with_vision_resolves_its_text_blocks():
    text = FAMILIES["gemma3"]().to_dict()
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    with torch.device("meta"):
        config = hf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
        view = ModelView(hf.AutoModelForCausalLM.from_config(config))
    assert view.family == "gemma3" and view.width == 32 and view.n_layers == LAYERS
    assert view.bind(Site(1, "z", heads=(3,))).columns == slice(36, 48)


def test_an_unlisted_family_with_llamas_paths_resolves_structurally():
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    base = {k: getattr(FAMILIES["llama"](), k) for k in keys}
    with torch.device("meta"):
        view = ModelView(hf.AutoModelForCausalLM.from_config(hf.StableLmConfig(**base, num_key_value_heads=2)))
        other = ModelView(hf.AutoModelForCausalLM.from_config(hf.OPTConfig(**base, word_embed_proj_dim=32)))
    assert set(view.components()) == set(COMPONENTS) - {"resid_mid"}
    assert view.bind(Site(2, "v", heads=(1,))).columns == slice(8, 16)
    with pytest.raises(SiteError, match="no resid_mid"):
        view.bind(Site(0, "resid_mid"))
    assert other.components() == ("block_input", "block_output", "resid_pre", "resid_post")
    with pytest.raises(SiteError, match="Use a module path, or one of: block_input"):
        other.bind(Site(0, "mlp_output"))


def test_projections_that_do_not_fit_plain_attention_have_no_heads():
    """An unlisted family whose queries carry a gate: whole modules bind, heads do not."""
    model = tiny_model("llama-gqa")
    model.config.model_type = "unlisted"
    for block in model.model.layers:
        block.self_attn.q_proj = nn.Linear(32, 64)
    view = ModelView(model)
    assert view.bind(Site(0, "attention_output")).width == 32
    with pytest.raises(SiteError, match="has no head_query_output"):
        view.bind(Site(0, "q", heads=(0,)))


def test_a_network_without_blocks_binds_module_paths_only():
    view = ModelView(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
    bound = view.bind(Site(component="0"))
    assert (bound.width, bound.resumable, view.components(), view.n_layers) == (6, False, (), 0)
    with pytest.raises(SiteError, match="no decoder blocks"):
        view.bind(Site(0, "block_output"))
    for part in ("final_norm", "head", "width"):
        with pytest.raises(ModelError):
            getattr(view, part)


ERRORS = {
    "misspelt": (Site(0, "blok_output"), UnknownChoiceError, "did you mean 'block_output'"),
    "empty": (Site(0, ""), UnknownChoiceError, "unknown component"),
    "too deep": (Site(3), SiteError, "layers 0 to 2"),
    "negative": (Site(-1), SiteError, r"got -1\. this model has layers 0 to 2"),
    "no layer": (Site(), SiteError, "got None"),
    "headless": (Site(0, "mlp_output", heads=(0,)), SiteError, "does not come apart into heads"),
    "unsplit": (Site(0, "query_output", heads=(0,)), SiteError, "use head_query_output"),
    "kv head": (Site(0, "k", heads=(2,)), SiteError, "2 key/value heads in this layer, 0 to 1"),
    "query head": (Site(0, "q", heads=(0, 4)), SiteError, "4 query heads"),
    "repeated head": (Site(0, "q", heads=(1, 1)), SiteError, "distinct heads"),
    "no heads": (Site(0, "q", heads=()), SiteError, "distinct heads"),
    "path": (Site(component="model.layers.1.mlp.down_prj"), SiteError, r"nearest are model\.layers\.1\.mlp\.down_proj"),
    "deep path": (Site(component="model.layers.9.mlp"), SiteError, "no module at this path"),
    "two layers": (Site(0, "model.layers.1.mlp"), SiteError, "not in layer 0"),
    "path heads": (Site(component="model.layers.1.mlp", heads=(0,)), SiteError, "no heads"),
    "ids": (Site(component="model.embed_tokens", side="input"), SiteError, "cannot read the width"),
    "container": (Site(component="model.rotary_emb"), SiteError, "cannot read the width of the output"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case, family_model):
    site, kind, message = ERRORS[case]
    with pytest.raises(kind, match=f"(?i){message}"):
        ModelView(family_model("llama-gqa")).bind(site)


def test_a_site_has_two_sides():
    with pytest.raises(UnknownChoiceError, match="input, output"):
        Site(component="model.layers.1.mlp", side="inside")


def test_per_head_norms_are_refused(family_model):
    with pytest.raises(SiteError, match="axis for heads"):
        ModelView(family_model("qwen3")).bind(Site(component="model.layers.0.self_attn.q_norm"))
    assert ModelView(family_model("olmo2")).bind(Site(component="model.layers.0.self_attn.q_norm")).width == 32


def test_parallel_residual_has_no_middle(family_model):
    with pytest.raises(SiteError, match="attention and MLP both read the block's input"):
        ModelView(family_model(PARALLEL)).bind(Site(0, "resid_mid"))


def test_the_view_changes_nothing(family_model):
    model = family_model("llama")
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    view = ModelView(model)
    assert [view.bind(Site(0, c)) for c in view.components()] == [view.bind(Site(0, c)) for c in view.components()]
    assert hash(view.bind(Site(0, "q", heads=(0,))))
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
