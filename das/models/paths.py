"""Binding a free-form module path ("model.layers.3.mlp.down_proj", side input or output)."""

from __future__ import annotations

from difflib import get_close_matches

from torch import nn

from das.errors import SiteError, UnknownChoiceError
from das.models.layouts import places
from das.models.parts import Parts
from das.models.sites import BoundSite, component_names, is_present, place_columns
from das.models.widths import descend, head_dim, is_norm, module_width
from das.types import Site


def bind_path(parts: Parts, site: Site) -> BoundSite:
    """Bind a module path; its layer is the one it contains.

    Raises:
        UnknownChoiceError: neither a component nor a path, or a side that is neither input nor output.
        SiteError: no module at this path, a layer or heads given on top of it, or a width that cannot be read.
    """
    module = descend(parts.model, site.component) if site.component else None
    if module is None:
        raise _unknown(parts, site.component)
    if site.heads is not None:
        raise SiteError("a module path has no heads", got=site.component, remedy="use a head_* component")
    layer, inner = _split(parts, site.component)
    if site.layer not in (None, layer):
        raise SiteError(f"the path {site.component!r} is not in layer {site.layer}", remedy="leave layer unset")
    is_block = layer is not None and not inner
    block, boundary = layer or 0, is_block
    if is_block and site.side == "output":
        block += 1
    after = module is parts.final_norm or module is parts.head
    if after:
        block, boundary = len(parts.blocks), module is parts.final_norm and site.side == "input"
    return BoundSite(
        site=site,
        module=module,
        path=site.component,
        side=site.side,
        columns=None,
        width=_width(parts, site, module, layer, inner),
        block=block,
        boundary=boundary,
        resumable=after or layer is not None,
    )


def _split(parts: Parts, path: str) -> tuple[int | None, str]:
    """(layer, path inside the block), or (None, path) for a module outside the blocks."""
    start = f"{parts.prefix}."
    if not parts.prefix or not path.startswith(start):
        return None, path
    index, _, inner = path.removeprefix(start).partition(".")
    return int(index), inner


def _width(parts: Parts, site: Site, module: nn.Module, layer: int | None, inner: str) -> int:
    if layer is not None:
        block = parts.blocks[layer]
        _refuse_per_head(parts, module, block, inner)
        for name, place in places(parts.layout).items():
            same = not place.part and (place.path, place.side) == (inner, site.side)
            if same and is_present(parts, name, place, block):
                return place_columns(parts, site, place, block)[1]
    width = module_width(module, site.side)
    if width is None:
        raise SiteError(
            f"cannot read the width of the {site.side} of a {type(module).__name__}",
            got=site.component,
            remedy="choose a projection, a norm, the embedding's output, or a named component next to it",
        )
    return width


def _refuse_per_head(parts: Parts, module: nn.Module, block: nn.Module, inner: str) -> None:
    """Qwen3's and Gemma-3's q_norm and k_norm see four axes, which no site of this package has."""
    if not is_norm(module) or not inner.startswith(f"{parts.layout.attention}."):
        return
    if module_width(module, "output") == head_dim(block, parts.layout, parts.query_heads):
        raise SiteError(
            "this norm sees every head on its own, with an axis for heads",
            got=inner,
            remedy="intervene on its projection: query_output, key_output or a head_* component",
        )


def _unknown(parts: Parts, path: str) -> SiteError | UnknownChoiceError:
    names = component_names(parts)
    if "." not in path:
        return UnknownChoiceError("component", path, names, remedy="Or give the path of a module")
    modules = [name for name, _ in parts.model.named_modules() if name]
    near = get_close_matches(path, modules, n=3)
    remedy = f"the nearest are {', '.join(near)}" if near else f"modules start with {_tops(parts.model)}"
    return SiteError("there is no module at this path", got=path, remedy=remedy)


def _tops(model: nn.Module) -> str:
    return ", ".join(name for name, _ in model.named_children())
