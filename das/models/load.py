"""Loading frozen causal language models and their tokenizers.

Everything that can be wrong with a name, a path or a checkpoint becomes a ModelError or TokenizerError that says what
to do; transformers' own traces never reach the user bare. The package's own models (`das.models.recipes`) have names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from das.errors import ConfigError, ModelError, TokenizerError
from das.models.recipes.base import recipe
from das.models.resolve import first_line, is_own, locate, parse_device, parse_dtype

#: Model -> (where its tokenizer comes from, the tokenizer): steering asks for it again and again.
_OF_MODELS: WeakKeyDictionary[PreTrainedModel, tuple[tuple[str, str | None], PreTrainedTokenizerFast]] = (
    WeakKeyDictionary()
)
#: Arguments of `from_pretrained` that say how to fetch files, and so apply to the config too.
_FETCHING = ("cache_dir", "code_revision", "local_files_only", "subfolder", "token", "trust_remote_code")


def load_model(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    **kwargs: Any,
) -> PreTrainedModel:
    """Load a causal LM, frozen and in eval mode.

    Args:
        name_or_path: a hub id, a directory, or an own model such as "tiny" (a directory called tiny: "./tiny").
        revision: hub revision.
        dtype: "float32", "bf16", a torch.dtype, ...; None (or "auto") keeps the checkpoint's.
        device: where to move the model; None leaves it on the CPU.
        device_map: placement by accelerate; excludes `device`, and the model is not moved afterwards.
        **kwargs: passed to `from_pretrained` (`attn_implementation`, `token`, `trust_remote_code`, ...).

    Raises:
        ModelError: no such directory or hub id, not a causal decoder, unreadable or missing weights, or no such device.
        UnknownChoiceError: an unknown dtype.
        ConfigError: both `device` and `device_map`.
    """
    if device is not None and device_map is not None:
        raise ConfigError("give device or device_map, not both", got=f"device={device}, device_map={device_map}")
    target = None if device is None else parse_device(device)
    chosen = parse_dtype(dtype)
    where = locate(name_or_path)
    fetching = {k: v for k, v in kwargs.items() if k in _FETCHING}
    config = kwargs.pop("config", None) or _config(where, revision=revision, **fetching)
    _check_causal(config, where)
    if device_map is not None:
        kwargs["device_map"] = device_map
    model = _weights(where, config=config, revision=revision, dtype=chosen, **kwargs)
    return _frozen(model if target is None else model.to(target))


def meta_model(name_or_path: str | Path, *, revision: str | None = None) -> PreTrainedModel:
    """The model built from its config on the meta device: every module and shape, no weights, no memory.

    Raises:
        ModelError: no such directory or hub id, or not a causal decoder.
    """
    if is_own(name_or_path):
        config = recipe(str(name_or_path)).config()
    else:
        config = _config(locate(name_or_path), revision=revision)
    _check_causal(config, str(name_or_path))
    with torch.device("meta"):
        return _frozen(AutoModelForCausalLM.from_config(config))


def load_tokenizer(
    name_or_path_or_model: str | Path | PreTrainedModel, *, revision: str | None = None
) -> PreTrainedTokenizerFast:
    """The tokenizer of a path, a hub id, an own model, or a loaded model (at the same revision; the same object for it
    each time).

    A missing pad token is set to the end-of-text token, else the unknown token: the vocabulary never grows, and the
    padding side stays as it is.

    Raises:
        ModelError: no such directory.
        TokenizerError: nothing there, no character offsets (a slow tokenizer), or nothing to pad with.
    """
    if not isinstance(name_or_path_or_model, PreTrainedModel):
        return _tokenizer(name_or_path_or_model, revision)
    model = name_or_path_or_model
    if not model.name_or_path:
        raise TokenizerError("the model does not say where it came from", remedy="pass the tokenizer's path")
    asked = str(model.name_or_path), revision or getattr(model.config, "_commit_hash", None)
    known = _OF_MODELS.get(model)
    if known is None or known[0] != asked:
        known = _OF_MODELS[model] = asked, _tokenizer(*asked)
    return known[1]


def _tokenizer(source: str | Path, revision: str | None) -> PreTrainedTokenizerFast:
    where = locate(source, needs=None)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision)
    except Exception as error:
        raise TokenizerError("the tokenizer cannot be loaded", got=where, remedy=first_line(error)) from error
    return _usable(tokenizer, where)


def _usable(tokenizer: Any, where: str) -> PreTrainedTokenizerFast:
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(
            "this tokenizer gives no character offsets, which spans and labels need",
            got=f"{type(tokenizer).__name__} of {where}",
            remedy="use a checkpoint with a tokenizer.json",
        )
    if tokenizer.pad_token is None:
        pad = tokenizer.eos_token or tokenizer.unk_token
        if pad is None:
            raise TokenizerError(
                "the tokenizer has no pad, end-of-text or unknown token to pad with",
                got=where,
                remedy="add pad_token to its tokenizer_config.json, naming a token of the vocabulary",
            )
        tokenizer.pad_token = pad
    return tokenizer


def _config(where: str, **fetching: Any) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(where, **fetching)
    except Exception as error:
        raise ModelError(
            "the model cannot be found or its config cannot be read",
            got=where,
            remedy=f"{first_line(error)} Check the name and the network, or give a local directory (or 'tiny')",
        ) from error


def _weights(where: str, **kwargs: Any) -> PreTrainedModel:
    """The model with every weight from the checkpoint: transformers would fill missing ones with noise."""
    try:
        model, info = AutoModelForCausalLM.from_pretrained(where, output_loading_info=True, **kwargs)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ModelError("the model's weights cannot be loaded", got=where, remedy=first_line(error)) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"the checkpoint lacks {len(missing)} of the model's weights, which would be random",
            got=f"{where} without {', '.join(missing[:3])}",
            remedy="load the checkpoint of a causal language model with its head",
        )
    return model


def _check_causal(config: PretrainedConfig, where: str) -> None:
    """Refuse encoders and encoder-decoders before any weight is loaded."""
    text = config.get_text_config()
    bidirectional = getattr(text, "use_bidirectional_attention", False) or (
        type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    )
    remote = "AutoModelForCausalLM" in getattr(config, "auto_map", {})
    known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or remote
    if config.is_encoder_decoder or bidirectional or not known:
        kind = "an encoder-decoder" if config.is_encoder_decoder else "not a causal language model"
        raise ModelError(f"{where} is {kind}", got=config.model_type, remedy="use a decoder-only model such as Llama")


def _frozen(model: PreTrainedModel) -> PreTrainedModel:
    return model.requires_grad_(False).eval()
