"""Resuming an unmodified Hugging Face model in the middle: blocks below `block` bypassed, tokens before the first
intervened position replaced by their stored keys and values.

Everything that is not bypassed (masks by layer index, rotary embeddings, norms, head, soft caps) is the model's own
code, run by its own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import DynamicCache

from das.batch import PairBatch
from das.engine.bypass import LOCK, bypassed, cache_from
from das.engine.hooks import Visitor, captures, gather_positions, replaced_input, spliced
from das.engine.layout import layout
from das.engine.narrow import narrowed
from das.models.families import BoundSite, ModelView
from das.types import Site

Visits = Sequence[tuple[BoundSite, Visitor]]


@dataclass(frozen=True)
class BaseState:
    """Everything about a batch's base prompts that stays constant while a subspace trains.

    Attributes:
        ids, positions, suffix_mask: the suffix tokens, (B, Ls).
        residual: residual stream entering the resume block at the suffix tokens, (B, Ls, width).
        prefix_mask: (B, Lp).
        keys, values: of every block from the resume block on, at the prefix tokens, (B, heads, Lp, head_dim).
    """

    ids: Int[Tensor, "batch after"]
    positions: Int[Tensor, "batch after"]
    suffix_mask: Bool[Tensor, "batch after"]
    residual: Float[Tensor, "batch after width"]
    prefix_mask: Bool[Tensor, "batch before"]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


@dataclass(frozen=True)
class Resumption:
    """A forward that is ready to go on at a block.

    Attributes:
        state: the base, its residual edited.
        columns: suffix columns whose logits are wanted, (B, K).
        visits: visitors at sites inside later blocks.
    """

    state: BaseState
    columns: Int[Tensor, "batch label"]
    visits: Visits


@torch.no_grad()
def base_state(view: ModelView, block: int, batch: PairBatch) -> BaseState:
    """Run the base once up to `block` on all tokens, and on from there on the prefix tokens only."""
    split = layout(batch)
    residual = read_residual(view, block, batch)
    positions = batch.base.position_ids
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()
    if split.prefix.shape[1] and block < view.n_layers:
        cache = cache_from(block, residual, 0)
        state = BaseState(
            batch.base.ids.gather(1, split.prefix), positions.gather(1, split.prefix), split.prefix_mask,
            gather_positions(residual, split.prefix), split.prefix_mask[:, :0], (), (),
        )  # fmt: skip
        run_from(view, block, state, None, cache=cache)
        real = split.prefix_mask[
            :, None, :, None
        ]  # pads can hold NaN, and a zero attention weight does not remove that
        keys = tuple(torch.where(real.to(x.keys.device), x.keys, 0) for x in cache.layers[block:])
        values = tuple(torch.where(real.to(x.values.device), x.values, 0) for x in cache.layers[block:])
    return BaseState(
        batch.base.ids.gather(1, split.suffix), positions.gather(1, split.suffix), split.suffix_mask,
        gather_positions(residual, split.suffix), split.prefix_mask, keys, values,
    )  # fmt: skip


def read_residual(view: ModelView, block: int, batch: PairBatch) -> Tensor:
    """The residual stream entering `block` (the final norm if there is no such block) at all base tokens."""
    visits, found = captures([(entry_site(view, block), None)], stop=True)
    with spliced(visits):
        call(view, batch.base.ids, batch.base.mask, batch.base.position_ids)
    assert found[0] is not None
    return found[0]


def run_from(
    view: ModelView,
    block: int,
    state: BaseState,
    label_positions: Int[Tensor, "batch label"] | None,
    visits: Visits = (),
    cache: DynamicCache | None = None,
    head: bool = True,
) -> Tensor | None:
    """Run blocks >= `block` on the suffix, the state's residual entering the first of them.

    Args:
        label_positions: suffix columns (B, K) whose logits are wanted; None stops before the final norm.
        visits: visitors at sites inside these blocks.
        cache: a cache to collect keys and values in; otherwise the state's own prefix is used.
        head: False stops before the head.

    Returns:
        Logits (B, K, V), or without the head its inputs (B, K, width), or None.
    """
    mask = torch.cat([state.prefix_mask, state.suffix_mask], 1)
    if cache is None and state.keys:
        cache = cache_from(block, state.residual, state.prefix_mask.shape[1], state.keys, state.values)
    with LOCK, ExitStack() as stack:
        stack.enter_context(bypassed(view.blocks[:block]))
        stack.enter_context(spliced(visits))
        entry = view.blocks[block] if block < view.n_layers else view.final_norm
        stack.enter_context(replaced_input(entry, lambda _: state.residual))
        if label_positions is None:
            stop, _ = captures([(entry_site(view, view.n_layers), state.ids[:, :0])], stop=True)
            stack.enter_context(spliced(stop))
            call(view, state.ids, mask, state.positions, cache)
        else:
            if block < view.n_layers and all(bound.block < view.n_layers - 1 for bound, _ in visits):
                stack.enter_context(narrowed(view, label_positions, state.ids.shape[1]))
            return logits_at(view, label_positions, state.ids, mask, state.positions, cache, head)
    return None


def resumed(view: ModelView, block: int, begun: Resumption, head: bool = True) -> Tensor:
    """Logits (B, K, V) of a resumed forward, or without `head` the head's inputs (B, K, width)."""
    found = run_from(view, block, begun.state, begun.columns, begun.visits, head=head)
    assert found is not None
    return found


def logits_at(
    view: ModelView,
    columns: Int[Tensor, "batch label"],
    ids: Tensor,
    mask: Tensor,
    positions: Tensor,
    cache: DynamicCache | None = None,
    head: bool = True,
) -> Float[Tensor, "batch label vocab"]:
    """Logits at the given columns of each row only; the head never sees the other tokens, nor any without `head`."""
    kept: list[Tensor] = []

    def wanted(hidden: Tensor) -> Tensor:
        kept.append(gather_positions(hidden, columns))
        return kept[0] if head else kept[0][:, :0]

    with replaced_input(view.head, wanted):
        logits = call(view, ids, mask, positions, cache).logits
    return logits if head else kept[0]


def head_logits(view: ModelView, hidden: Float[Tensor, "batch label width"]) -> Float[Tensor, "batch label vocab"]:
    """Logits from stored head inputs, with the model's own scaling and soft cap where it has them."""
    with LOCK:  # other forwards hook the head
        if view not in _PLAIN:
            probe = 30 * torch.randn(1, 2, hidden.shape[2], generator=torch.Generator().manual_seed(0)).to(hidden)
            with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
                whole, alone = _whole_head(view, probe), view.head(probe)
            _PLAIN[view] = whole.dtype == alone.dtype and torch.equal(whole, alone.to(whole.device))
        return view.head(hidden) if _PLAIN[view] else _whole_head(view, hidden)


#: View -> whether the model makes nothing of the head's output: then its forward, all blocks bypassed, is not needed.
_PLAIN: WeakKeyDictionary[ModelView, bool] = WeakKeyDictionary()


def _whole_head(view: ModelView, hidden: Tensor) -> Tensor:
    ids = torch.zeros(hidden.shape[0], 1, dtype=torch.long, device=view.device)
    ones = torch.ones_like(ids, dtype=torch.bool)
    with LOCK, bypassed(view.blocks), replaced_input(view.head, lambda _: hidden):
        return call(view, ids, ones, ids).logits


def call(view: ModelView, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache | None = None) -> Any:
    """The model's own forward, positions always explicit, a mask always given."""
    device = view.device
    return view.model(
        input_ids=ids.to(device), attention_mask=mask.long().to(device), position_ids=positions.to(device),
        past_key_values=cache, use_cache=cache is not None,
    )  # fmt: skip


def entry_site(view: ModelView, block: int) -> BoundSite:
    """The residual stream entering `block`, or the final norm."""
    inside = block < view.n_layers
    module = view.blocks[block] if inside else view.final_norm
    path = f"block {block}" if inside else "final norm"
    site = Site(layer=block if inside else None, component="block_input")
    return BoundSite(site, module, path, "input", None, view.width, block, True, True)
