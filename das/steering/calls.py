"""What one forward or one `generate` was called with: real positions, real tokens, length of the cache.

Positions are a row's real ones (0 for its first real token), never columns and never a count of calls, so that a run
with a cache, without one, prefilled in chunks, padded or packed is edited in the same places.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from das.errors import InputError


@dataclass(frozen=True)
class Given:
    """The rows `generate` was given.

    Attributes:
        ids: (B, L) token ids, or None where they were not given in full (embeddings, a continued cache).
        mask: (B, L), which columns are real.
        padded: whether any is not.
    """

    ids: Tensor | None
    mask: Tensor
    padded: bool


@dataclass(frozen=True)
class Call:
    """One forward of the model that is steered.

    Attributes:
        arguments: the forward's arguments by name.
        rows, tokens: B and T of this call.
        device: where its inputs are.
        given: the `generate` in progress, or None.
    """

    arguments: Mapping[str, Any]
    rows: int
    tokens: int
    device: torch.device
    given: Given | None

    @property
    def ids(self) -> Tensor | None:
        """Token ids (B, T), or None where embeddings were given."""
        ids = self.arguments.get("input_ids")
        return ids if isinstance(ids, Tensor) else None

    @cached_property
    def past(self) -> int | Tensor:
        """Columns in the cache; a tensor where the cache keeps it on the device (static caches)."""
        cache = self.arguments.get("past_key_values")
        if cache is None or not hasattr(cache, "get_seq_length"):
            return 0
        length = cache.get_seq_length()
        return length if isinstance(length, Tensor) else int(length)

    @property
    def decoding(self) -> bool:
        """Whether this call certainly holds generated tokens only, each row's all real."""
        given = self.given
        return given is not None and isinstance(self.past, int) and self.past >= given.mask.shape[1]

    @cached_property
    def valid(self) -> Tensor | None:
        """(B, T), which tokens are real; None where all are."""
        mask = self._mask
        if mask is not None:
            return self._columns(expand_rows(mask, self.rows, "attention masks"))
        if self.given is None or not self.given.padded:
            return None
        known = expand_rows(self.given.mask, self.rows, "prompts").to(self.device)
        columns = self.past + torch.arange(self.tokens, device=self.device)
        last = known.shape[1] - 1
        return known[:, columns.clamp(max=last)] | (columns > last)

    @cached_property
    def positions(self) -> Tensor:
        """(B, T), the real position of every token; pads hold anything."""
        given = self.arguments.get("position_ids")
        if isinstance(given, Tensor) and given.dim() <= 2 and given.shape[-1] == self.tokens:
            return expand_rows(given.reshape(-1, self.tokens), self.rows, "rows of position ids").long()
        if self._mask is not None:
            counted = (self._mask.long().cumsum(-1) - 1).clamp(min=0)
            return self._columns(expand_rows(counted, self.rows, "attention masks"))
        return (self.past + torch.arange(self.tokens, device=self.device)).expand(self.rows, -1)

    @cached_property
    def starts_empty(self) -> bool:
        """Whether nothing came before this call."""
        return int(self.past) == 0

    @cached_property
    def whole(self) -> bool:
        """Whether this call holds all of the prompt."""
        return self.starts_empty and (self.given is None or self.tokens >= self.given.mask.shape[1])

    @property
    def _mask(self) -> Tensor | None:
        mask = self.arguments.get("attention_mask")
        if not isinstance(mask, Tensor) or mask.dim() != 2 or mask.shape[1] < self.tokens:
            return None
        return mask != 0

    def _columns(self, full: Tensor) -> Tensor:
        """This call's columns of a mask that covers the cache too (and perhaps what is yet to come)."""
        if full.shape[1] > self.tokens and isinstance(self.past, int) and self.past + self.tokens <= full.shape[1]:
            return full[:, self.past : self.past + self.tokens]
        return full[:, -self.tokens :]


def read_call(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], given: Given | None) -> Call:
    """The call's arguments by name, nothing changed.

    Raises:
        InputError: neither token ids nor embeddings were given.
    """
    arguments = named(model.forward, args, kwargs)
    for name in ("input_ids", "inputs_embeds", "x"):
        if isinstance(tensor := arguments.get(name), Tensor) and tensor.dim() >= 2:
            return Call(arguments, tensor.shape[0], tensor.shape[1], tensor.device, given)
    raise InputError(
        "a steered model was called without a batch of token ids or embeddings",
        got=f"arguments {sorted(k for k, v in arguments.items() if v is not None)}",
        remedy="give input_ids of shape (rows, tokens)",
    )


def read_given(model: nn.Module, arguments: Mapping[str, Any]) -> Given | None:
    """Prompt rows from the arguments of `generate`, the mask inferred as `generate` itself does; None without any."""
    ids = next((arguments[k] for k in ("input_ids", "inputs") if isinstance(arguments.get(k), Tensor)), None)
    embeds, mask = arguments.get("inputs_embeds"), arguments.get("attention_mask")
    if not isinstance(mask, Tensor):
        if ids is not None:
            mask = _inferred_mask(model, ids, arguments)
        elif isinstance(embeds, Tensor):
            mask = torch.ones(embeds.shape[:2], device=embeds.device)
        else:
            return None
    real = mask != 0
    whole = ids is not None and ids.shape == real.shape and not isinstance(embeds, Tensor)
    return Given(ids if whole else None, real, not bool(real.all()))


def _inferred_mask(model: nn.Module, ids: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """What `generate` assumes without a mask: pad tokens are padding, unless padding is also how a text ends."""
    config = arguments.get("generation_config") or model.generation_config

    def chosen(name: str) -> set[int]:
        value = arguments.get(name)
        for source in (config, model.generation_config):
            value = getattr(source, name, None) if value is None else value
        return set(torch.as_tensor(value).reshape(-1).tolist()) if value is not None else set()

    pad = chosen("pad_token_id")
    if not pad or pad & chosen("eos_token_id"):
        return torch.ones_like(ids)
    return torch.isin(ids, torch.tensor(sorted(pad), device=ids.device)).logical_not()


def named(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name; those of `**kwargs` beside the others."""
    if not args:
        return dict(kwargs)
    signature = inspect.signature(function)
    bound = dict(signature.bind_partial(*args, **kwargs).arguments)
    extra = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
    return {**bound.pop(extra, {}), **bound}


def expand_rows(values: Tensor, rows: int, what: str) -> Tensor:
    """One entry per row of a call: beams and returned sequences repeat each row in place.

    Raises:
        InputError: the call's rows are no multiple of the entries.
    """
    count = values.shape[0]
    if count == rows:
        return values
    if count == 1:
        return values.expand(rows, *values.shape[1:])
    if rows % count:
        raise InputError(
            f"the rows of a forward must be a multiple of the {what} given for them",
            got=f"{rows} rows and {count} {what}",
            remedy=f"give one for all rows, or exactly one per row (beams and returned sequences repeat {what})",
        )
    return values.repeat_interleave(rows // count, 0)
