"""Widths and columns, read from modules and never computed from a config.

`hidden_size / num_attention_heads` is wrong for Gemma, Qwen3 and Mistral checkpoints, so a head's width comes from
the attention module, and head counts from the projections' own shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from das.errors import SiteError
from das.models.layouts import Layout, Place

Columns = slice | tuple[int, ...] | None


def descend(root: nn.Module, path: str) -> nn.Module | None:
    """The module at `path` below `root` ("" is `root` itself), or None where there is none."""
    try:
        return root.get_submodule(path)
    except AttributeError:
        return None


def is_norm(module: nn.Module) -> bool:
    """Whether this is a LayerNorm or RMSNorm of any make."""
    return "norm" in type(module).__name__.lower() and not any(True for _ in module.children())


def module_width(module: nn.Module, side: str) -> int | None:
    """Size of the last axis of a module's input or output; None where the module does not say.

    Understands linear layers (also quantized ones), GPT-2's `Conv1D`, norms and embeddings (output only).
    """
    if isinstance(module, nn.Embedding):
        return int(module.embedding_dim) if side == "output" else None
    for inner, outer in (("in_features", "out_features"), ("nx", "nf")):
        if hasattr(module, inner) and hasattr(module, outer):
            return int(getattr(module, inner if side == "input" else outer))
    weight = getattr(module, "weight", None)
    if is_norm(module) and weight is not None and weight.ndim == 1:
        return int(weight.shape[0])
    shape: tuple[int, ...] = tuple(getattr(module, "normalized_shape", ()))
    return int(shape[-1]) if len(shape) == 1 else None


@dataclass(frozen=True)
class Heads:
    """How attention heads lie in the last axis: head `h` covers columns `starts[h] : starts[h] + dim` of `total`."""

    starts: tuple[int, ...]
    dim: int
    total: int

    def columns(self, heads: Sequence[int] | None) -> list[int]:
        """Columns of the chosen heads in the order given; None means all heads."""
        chosen = range(len(self.starts)) if heads is None else heads
        return [column for h in chosen for column in range(self.starts[h], self.starts[h] + self.dim)]


def compact(columns: Sequence[int], total: int) -> Columns:
    """The cheapest index of these columns: None for all of them in order, a slice for a range, else a tuple."""
    first = columns[0]
    if list(columns) != list(range(first, first + len(columns))):
        return tuple(columns)
    return None if len(columns) == total else slice(first, first + len(columns))


def head_dim(block: nn.Module, layout: Layout, query_heads: int | None) -> int:
    """Width of one head: the attention module's attribute, else its mixed width / `query_heads`.

    Raises:
        SiteError: neither is available.
    """
    attention = descend(block, layout.attention)
    own = getattr(attention, layout.head_dim, None)
    if own is not None:
        return int(own)
    mix = descend(block, layout.mix)
    width = None if mix is None else module_width(mix, "input")
    if width is None or not query_heads:
        raise SiteError("cannot read the width of an attention head", got=type(attention).__name__)
    return width // query_heads


def projections_agree(block: nn.Module, layout: Layout) -> bool:
    """Whether the projections say their widths, and these fit plain (grouped) attention.

    They do not where queries carry a gate (Qwen3-Next) or keys and values differ in width.
    """
    paths = (layout.query, layout.key, layout.value)
    query, key, value = (module_width(block.get_submodule(path), "output") for path in paths)
    mixed = module_width(block.get_submodule(layout.mix), "input")
    if query is None or mixed is None:
        return False
    return bool(layout.fused) or (query == mixed and key is not None and key == value)


def head_layout(block: nn.Module, layout: Layout, place: Place, query_heads: int | None) -> Heads:
    """Where the heads of a query/key/value/mix place lie, in a block whose projections agree.

    Raises:
        SiteError: the width of a head cannot be read, or does not divide the projection's.
    """
    dim = head_dim(block, layout, query_heads)
    total = module_width(block.get_submodule(place.path), place.side)
    mixed = module_width(block.get_submodule(layout.mix), "input")
    assert total is not None and mixed is not None, "projections_agree comes first"
    offset, size, stride = 0, total, dim
    if layout.fused and place.part != "mix":
        index = ("query", "key", "value").index(place.part)
        if layout.fused == "interleaved":
            offset, stride = index * dim, 3 * dim
        else:
            grouped = (total - mixed) // 2
            offset, size = ((0, mixed), (mixed, grouped), (mixed + grouped, grouped))[index]
    if size % stride:
        raise SiteError(f"{place.path} does not divide into heads of width {dim}", got=size)
    return Heads(tuple(offset + stride * h for h in range(size // stride)), dim, total)
