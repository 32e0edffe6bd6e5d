"""Lists of sites: layers x components x positions, single heads, single tokens, windows of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from das.data.encode import Encoder
from das.errors import InputError, PositionError
from das.models.families import ModelView
from das.types import CounterfactualPair, Site


def grid(
    model: nn.Module,
    components: Sequence[str] = ("block_output",),
    positions: Sequence[str] = ("last",),
    layers: Sequence[int] | None = None,
    heads: bool = False,
) -> list[Site]:
    """One site per combination; all layers by default.

    Args:
        model: whose layers and heads.
        components, positions: as in `Site`.
        layers: which; None for all.
        heads: single heads of the components, all of them.

    Raises:
        SiteError: a component that does not come apart into heads, or a layer that does not exist.
    """
    view = ModelView(model)
    chosen = range(view.n_layers) if layers is None else layers
    whole = [Site(layer, c, p) for layer in chosen for c in components for p in positions]
    if not heads:
        return whole
    counts = [view.bind(s).width // view.bind(replace(s, heads=(0,))).width for s in whole]
    return [replace(s, heads=(h,)) for s, count in zip(whole, counts, strict=True) for h in range(count)]


def each_token(pairs: Sequence[CounterfactualPair], encoder: Encoder) -> tuple[str, ...]:
    """Positions "index:0", "index:1", ... of the clean prompts.

    Raises:
        PositionError: prompts of different lengths, whose N-th tokens are not comparable.
    """
    lengths = {len(e) for e in encoder.encode_all([pair.base for pair in pairs])}
    if len(lengths) != 1:
        raise PositionError(
            "prompts differ in their number of tokens, so a token's number means nothing", got=sorted(lengths),
            remedy='name positions ("span:NAME", "last", "index:-2"), or use prompts of one length',
        )  # fmt: skip
    return tuple(f"index:{i}" for i in range(lengths.pop()))


def windows(sites: Sequence[Site], size: int) -> list[tuple[int, ...]]:
    """Numbers of the sites of every run of `size` adjacent layers that are alike in all else.

    Raises:
        InputError: a window of less than two layers.
    """
    if size < 2:
        raise InputError("a window has at least two layers", got=size)
    where = {site: i for i, site in enumerate(sites)}
    found = []
    for site in sites:
        if site.layer is not None:
            run = [replace(site, layer=site.layer + step) for step in range(size)]
            if all(one in where for one in run):
                found.append(tuple(where[one] for one in run))
    return found
