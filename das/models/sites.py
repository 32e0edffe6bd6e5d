"""Binding a named component to the module that realises it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from das.errors import SiteError
from das.models.layouts import ALIASES, Place, places
from das.models.parts import Parts
from das.models.widths import Columns, compact, descend, head_layout, module_width, projections_agree
from das.types import Site


@dataclass(frozen=True)
class BoundSite:
    """A site and the module that realises it.

    Attributes:
        site: what was asked for.
        module: the module to hook.
        path: its dotted path in the model.
        side: "input" or "output". Inputs arrive positionally or as `hidden_states=`, outputs bare or first in a tuple.
        columns: columns of the last axis this site covers; None is all of them, a contiguous range is a slice.
        width: number of columns (for several heads: their total).
        block: resuming the forward at this block's input reproduces the site; `n_layers` for what follows the blocks.
        boundary: the site is the residual stream entering `block`.
        resumable: False for modules that run before the blocks.
        residual: for `resid_mid`, the block whose input is to be added to what the module puts out. Writing adds the
            same delta to the module's output.
    """

    site: Site
    module: nn.Module
    path: str
    side: str
    columns: Columns = field(hash=False)
    width: int
    block: int
    boundary: bool
    resumable: bool
    residual: nn.Module | None = None


def component_names(parts: Parts) -> tuple[str, ...]:
    """Names that bind in at least one block of this model, aliases last."""
    names = [
        name
        for name, place in places(parts.layout).items()
        if any(is_present(parts, name, place, block) for block in parts.blocks)
    ]
    return (*names, *(alias for alias, name in ALIASES.items() if name in names))


def bind_component(parts: Parts, site: Site, name: str) -> BoundSite:
    """Bind a known component name.

    Raises:
        SiteError: no or no such layer, this block has no such component, or heads that do not exist.
    """
    layer, place = _layer(parts, site), places(parts.layout)[name]
    block = parts.blocks[layer]
    if not is_present(parts, name, place, block):
        raise _absent(parts, site, name)
    columns, width = place_columns(parts, site, place, block)
    return BoundSite(
        site=site,
        module=block.get_submodule(place.path),
        path=".".join(filter(None, (parts.prefix, str(layer), place.path))),
        side=place.side,
        columns=columns,
        width=width,
        block=layer + (name == "block_output"),
        boundary=name in ("block_input", "block_output"),
        resumable=True,
        residual=block if name == "resid_mid" else None,
    )


def place_columns(parts: Parts, site: Site, place: Place, block: nn.Module) -> tuple[Columns, int]:
    """Columns and width of a place. Raises SiteError for heads that do not exist."""
    if not place.part:
        _check_heads(site, place, 0)
        own = module_width(block.get_submodule(place.like or place.path), "input" if place.like else place.side)
        return None, parts.width if own is None else own
    heads = head_layout(block, parts.layout, place, parts.query_heads)
    _check_heads(site, place, len(heads.starts))
    columns = heads.columns(site.heads)
    return compact(columns, heads.total), len(columns)


def is_present(parts: Parts, name: str, place: Place, block: nn.Module) -> bool:
    """Whether this block has the component, laid out as the table (or, for unlisted families, Llama) says."""
    layout = parts.layout
    if name == "resid_mid" and (not layout.branch or is_parallel(parts, block)):
        return False
    needed = [place.path, place.like]
    if place.path.startswith(layout.attention):
        needed += [layout.query, layout.key, layout.value, layout.mix]
    elif place.path.startswith(layout.mlp):
        needed += [layout.down]
    if any(descend(block, path) is None for path in needed):
        return False
    return not place.part or projections_agree(block, layout)


def is_parallel(parts: Parts, block: nn.Module) -> bool:
    """Whether attention and MLP of this block both read the block's input."""
    return bool(parts.layout.parallel) and bool(getattr(block, parts.layout.parallel, False))


def _layer(parts: Parts, site: Site) -> int:
    count = len(parts.blocks)
    if not count:
        raise SiteError(f"{parts.family} has no decoder blocks", got=site.component, remedy="use a module path")
    if site.layer is None or not 0 <= site.layer < count:
        remedy = f"this model has layers 0 to {count - 1}"
        raise SiteError("the site's layer does not exist", got=repr(site.layer), remedy=remedy)
    return site.layer


def _absent(parts: Parts, site: Site, name: str) -> SiteError:
    block = parts.blocks[site.layer or 0]
    if name == "resid_mid" and is_parallel(parts, block):
        return SiteError(
            f"resid_mid does not exist in {parts.family}: attention and MLP both read the block's input",
            got=site.component,
            remedy="use block_input, attention_output or block_output",
        )
    return SiteError(
        f"{parts.family} has no {name} in layer {site.layer} that this package knows of",
        got=site.component,
        remedy=f"use a module path, or one of: {', '.join(component_names(parts))}",
    )


def _check_heads(site: Site, place: Place, count: int) -> None:
    if site.heads is None:
        return
    if not place.heads:
        remedy = f"use head_{site.component}" if place.part else "leave heads unset, or use a head_* component"
        raise SiteError(f"{site.component} does not come apart into heads", got=f"heads {site.heads}", remedy=remedy)
    kind = "key/value heads" if place.part in ("key", "value") else "query heads"
    if not site.heads or len(set(site.heads)) != len(site.heads) or not all(0 <= h < count for h in site.heads):
        raise SiteError(
            f"{site.component} has {count} {kind} in this layer, 0 to {count - 1}",
            got=f"heads {site.heads}",
            remedy="choose distinct heads in that range, or leave heads unset for all of them",
        )
