"""Skipping blocks of an unmodified model, and giving it a cache that starts at a later block."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

#: The bypass changes a shared model for the duration of a call, so calls exclude each other.
LOCK = threading.RLock()


def cache_from(
    block: int, like: Tensor, length: int, keys: Sequence[Tensor] = (), values: Sequence[Tensor] = ()
) -> DynamicCache:
    """A fresh cache for a forward that resumes at `block`; the given tensors are not mutated.

    Not `DynamicCache(config)`: that one keeps only window-1 keys of sliding layers.

    Args:
        block: layers below it are bypassed and only need the right length (the model reads it from layer 0).
        like: a tensor (batch, ...) of the model's dtype and device.
        length: tokens already in the cache.
        keys, values: of the layers from `block` on; none to collect them.
    """
    cache = DynamicCache()
    if length:
        zero = like.new_zeros(1, 1, 1, 1).expand(like.shape[0], 1, length, 1)
        cache.layers.extend(_filled(zero, zero) for _ in range(block))
    else:
        cache.layers.extend(DynamicLayer() for _ in range(block))
    cache.layers.extend(_filled(k, v) for k, v in zip(keys, values, strict=True))
    return cache


def _filled(keys: Tensor, values: Tensor) -> DynamicLayer:
    layer = DynamicLayer()
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
    return layer


@contextmanager
def bypassed(blocks: nn.ModuleList) -> Iterator[None]:
    """Blocks return their hidden states unchanged; whatever `forward` they had (accelerate's, say) is put back."""
    missing = object()
    before = [(b, b.__dict__.get("forward", missing)) for b in blocks]
    try:
        for b in blocks:
            b.forward = _unchanged
        yield
    finally:
        for b, forward in before:
            if forward is missing:
                del b.forward
            else:
                b.forward = forward


def _unchanged(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return hidden_states
