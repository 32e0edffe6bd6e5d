"""A short identity of a model's weights, so that a subspace or a cache is never used with another model.

Hashed: architecture fields of the config, the shape of every parameter, and the head and tail of the first and last
row of every parameter, rounded to bfloat16. Rounding makes fp32 and bf16 loads of one checkpoint agree (an fp16 load
may differ); devices, sharding and attention implementation do not matter. An edit confined to entries that are not
sampled goes unnoticed; anything that changes whole matrices (fine-tuning, merged LoRA, orthogonalised weights) does
not. Parameters that an adapter added to the model count as part of it.

Cost: two small copies per parameter, a few milliseconds for a small model.
"""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor, nn

from das.errors import ModelError

_SAMPLE = 32
#: Fields that change what a forward computes without changing a weight. Absent ones count as None.
_FIELDS = (
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "activation_function",
    "rms_norm_eps",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "partial_rotary_factor",
    "scale_attn_by_inverse_layer_idx",
    "rope_parameters",
    "sliding_window",
    "layer_types",
    "tie_word_embeddings",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "use_parallel_residual",
)


def fingerprint(model: nn.Module) -> str:
    """Hex sha256 of a model's architecture and of samples of its weights.

    Raises:
        ModelError: the model has no parameters, or some of them hold no data (meta device, offloaded).
    """
    digest = hashlib.sha256(_architecture(model).encode())
    empty = True
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise ModelError(
                "cannot fingerprint weights that are not in memory",
                got=f"{name} on the meta device",
                remedy="load the model with load_model, without disk offloading",
            )
        digest.update(repr(tuple(parameter.shape)).encode())
        digest.update(_sample(parameter.detach()))
        empty = False
    if empty:
        raise ModelError("cannot fingerprint a model without parameters", got=type(model).__name__)
    return digest.hexdigest()


def _architecture(model: nn.Module) -> str:
    config = getattr(model, "config", None)
    if config is None:
        return type(model).__name__
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return json.dumps({name: getattr(text, name, None) for name in _FIELDS}, sort_keys=True, default=str)


def _sample(parameter: Tensor) -> bytes:
    """Head and tail of the first and last row as little-endian bfloat16 bytes."""
    if not parameter.numel():
        return b""
    rows = parameter.reshape(1, -1) if parameter.ndim < 2 else parameter
    ends = [row.reshape(-1) for row in (rows[0], rows[-1])]
    pieces = [piece for row in ends for piece in (row[:_SAMPLE], row[-_SAMPLE:])]
    return torch.cat(pieces).to(torch.bfloat16).cpu().view(torch.int16).numpy().tobytes()
