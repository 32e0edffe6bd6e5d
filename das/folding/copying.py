"""A copy of a model with room for what is folded in: biases its config can switch on, an embedding of its own."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from das.errors import CapabilityError


def roomy_copy(model: nn.Module, biased: Sequence[str], untied: bool) -> Any:
    """A copy that computes the same and shares no weight with the model.

    Args:
        model: stays as it is.
        biased: paths of matrices that need a bias.
        untied: give the output embedding weights of its own.

    Raises:
        CapabilityError: the architecture has no bias there, so a saved model could not be loaded again.
    """
    flags = _bias_flags(model, {f"{path}.bias" for path in biased}) if biased else []
    fresh = sorted(_fresh(model, flags)) if flags else []
    copied: Any = deepcopy(model)
    for flag in flags:
        setattr(copied.config, flag, True)
    for name in fresh:
        module = copied.get_submodule(name.rpartition(".")[0])
        module.bias = nn.Parameter(module.weight.new_zeros(module.weight.shape[0]), requires_grad=False)
    if untied:
        _untie(copied)
    return copied


def _bias_flags(model: Any, wanted: set[str]) -> list[str]:
    """The config's flags that put biases where they are wanted; those that come along stay zero."""
    config = vars(model.config) if hasattr(model, "config") else {}
    off = [name for name, value in config.items() if name.endswith("bias") and value is False]
    flags = [flag for flag in off if wanted & _fresh(model, [flag])]
    if missing := sorted(wanted - (_fresh(model, flags) if flags else set())):
        raise CapabilityError(
            "the shift needs a bias, and this architecture has none there", got=", ".join(missing),
            remedy="steer with das.steer, or fold an edit without a shift (op='ablate')",
        )  # fmt: skip
    return flags


def _fresh(model: Any, flags: Sequence[str]) -> set[str]:
    """Parameters that the model would have in addition if its config had these flags."""
    config = deepcopy(model.config)
    for flag in flags:
        setattr(config, flag, True)
    with torch.device("meta"):
        return set(type(model)(config).state_dict()) - set(model.state_dict())


def _untie(model: Any) -> None:
    head = model.get_output_embeddings()
    if head is None or head.weight is not model.get_input_embeddings().weight:
        return
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        config.tie_word_embeddings = False
