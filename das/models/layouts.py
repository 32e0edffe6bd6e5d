"""Where each model family keeps its parts: one row of module paths per family, and component name -> place in a block.

The table is keyed by `config.model_type`. A family that is not listed resolves structurally when its blocks look like
Llama's; otherwise only `block_input`, `block_output` and free-form module paths exist. No widths live here: they are
read from modules (`das.models.widths`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache


@dataclass(frozen=True)
class Layout:
    """Module paths of one family. `blocks` and `final_norm` start at the model, all others at a block.

    Attributes:
        blocks: the list of decoder blocks.
        final_norm: the norm between the last block and the head.
        attention, mlp: the two branches of a block.
        query, key, value: the projections; the same path three times when they are fused.
        mix: the attention's output projection, whose input is the concatenation of all heads.
        activation: the module that applies the non-linearity of the MLP.
        down: the MLP's output projection.
        fused: how a fused projection's columns are laid out: "" (not fused), "stacked" (q | k | v) or "interleaved"
            (per head q, k, v).
        head_dim: attribute of the attention module that holds the width of one head.
        branch: module whose output is what the attention adds to the residual stream (its post-norm where it has one),
            or "" where that is not known.
        parallel: attribute of a block that is true when attention and MLP both read the block's input.
    """

    blocks: str
    final_norm: str
    attention: str
    mlp: str
    query: str
    key: str
    value: str
    mix: str
    activation: str
    down: str
    branch: str
    fused: str = ""
    head_dim: str = "head_dim"
    parallel: str = ""


@dataclass(frozen=True)
class Place:
    """Where a component lies in a block.

    Attributes:
        path: module path inside the block; "" is the block itself.
        side: "input" or "output" of that module.
        like: path of a projection whose input is as wide as this place; "" reads the module's own width, and the
            residual width for a module that has none (block, attention, MLP).
        part: "query", "key", "value" or "mix" when the place consists of attention heads.
        heads: whether single heads may be chosen.
    """

    path: str
    side: str
    like: str = ""
    part: str = ""
    heads: bool = False


_LLAMA = Layout(
    blocks="model.layers",
    final_norm="model.norm",
    attention="self_attn",
    mlp="mlp",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    mix="self_attn.o_proj",
    activation="mlp.act_fn",
    down="mlp.down_proj",
    branch="self_attn",
)
_POST_NORM = replace(_LLAMA, branch="post_attention_layernorm")
_QKV = "self_attn.qkv_proj"

#: What an unlisted family is tried with; where its attention branch ends is not known, hence no `resid_mid`.
LLAMA_SHAPED = replace(_LLAMA, branch="")

#: `config.model_type` -> where things are.
LAYOUTS: dict[str, Layout] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _POST_NORM,
    "gemma3_text": _POST_NORM,
    "gemma3": replace(_POST_NORM, blocks="model.language_model.layers", final_norm="model.language_model.norm"),
    "olmo2": _POST_NORM,
    "phi3": replace(_LLAMA, query=_QKV, key=_QKV, value=_QKV, fused="stacked", activation="mlp.activation_fn"),
    "gpt2": Layout(
        blocks="transformer.h",
        final_norm="transformer.ln_f",
        attention="attn",
        mlp="mlp",
        query="attn.c_attn",
        key="attn.c_attn",
        value="attn.c_attn",
        mix="attn.c_proj",
        activation="mlp.act",
        down="mlp.c_proj",
        branch="attn",
        fused="stacked",
    ),
    "gpt_neox": Layout(
        blocks="gpt_neox.layers",
        final_norm="gpt_neox.final_layer_norm",
        attention="attention",
        mlp="mlp",
        query="attention.query_key_value",
        key="attention.query_key_value",
        value="attention.query_key_value",
        mix="attention.dense",
        activation="mlp.act",
        down="mlp.dense_4h_to_h",
        branch="attention",
        fused="interleaved",
        head_dim="head_size",
        parallel="use_parallel_residual",
    ),
}

#: Where unlisted families usually keep their blocks, and what the norm next to them is called.
BLOCK_PATHS = (
    "model.layers",
    "model.language_model.layers",
    "transformer.h",
    "gpt_neox.layers",
    "model.decoder.layers",
    "backbone.layers",
    "transformer.blocks",
    "layers",
    "blocks",
    "h",
)
NORM_NAMES = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f", "ln_out")

#: TransformerLens' names -> ours.
ALIASES: dict[str, str] = {
    "resid_pre": "block_input",
    "resid_post": "block_output",
    "attn_out": "attention_output",
    "mlp_out": "mlp_output",
    "mlp_post": "mlp_hidden",
    "z": "head_attention_value_output",
    "q": "head_query_output",
    "k": "head_key_output",
    "v": "head_value_output",
}


@cache
def places(layout: Layout) -> dict[str, Place]:
    """Component name -> place, for every component this package knows.

    `mlp_hidden` is the input of the down projection (the activation itself in ungated MLPs); `resid_mid` is the
    attention branch's output, to which readers add the block's input.
    """
    return {
        "block_input": Place("", "input"),
        "block_output": Place("", "output"),
        "resid_mid": Place(layout.branch, "output"),
        "attention_input": Place(layout.attention, "input"),
        "attention_output": Place(layout.attention, "output"),
        "attention_value_output": Place(layout.mix, "input", part="mix"),
        "query_output": Place(layout.query, "output", part="query"),
        "key_output": Place(layout.key, "output", part="key"),
        "value_output": Place(layout.value, "output", part="value"),
        "head_attention_value_output": Place(layout.mix, "input", part="mix", heads=True),
        "head_query_output": Place(layout.query, "output", part="query", heads=True),
        "head_key_output": Place(layout.key, "output", part="key", heads=True),
        "head_value_output": Place(layout.value, "output", part="value", heads=True),
        "mlp_input": Place(layout.mlp, "input"),
        "mlp_activation": Place(layout.activation, "output", like=layout.down),
        "mlp_hidden": Place(layout.down, "input"),
        "mlp_output": Place(layout.mlp, "output"),
    }
