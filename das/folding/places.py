"""Where in the weights a site is: the side of a matrix, or a point of the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from das.errors import CapabilityError, SiteError
from das.folding.matrices import is_matrix, owners
from das.models.families import BoundSite, ModelView
from das.models.widths import Columns
from das.types import Site


@dataclass(frozen=True, order=True)
class Point:
    """A point of the residual stream: what enters block `block`, or (mid) its MLP."""

    block: int
    mid: bool = False

    def __str__(self) -> str:
        return f"the MLP of layer {self.block}" if self.mid else f"the input of layer {self.block}"


@dataclass(frozen=True)
class Beside:
    """A side of a matrix; `stage` as in `Step`."""

    path: str
    side: str
    stage: int
    columns: Columns


def place(view: ModelView, bound: BoundSite) -> Point | Beside:
    """Find the matrix whose input or output a site is, or its point of the residual stream.

    Raises:
        CapabilityError: it is neither.
    """
    if bound.residual is not None or bound.boundary:
        return Point(bound.block, bound.residual is not None)
    found = _beside(view, bound)
    if found is None:
        raise CapabilityError(
            "no weight is next to this site, so nothing can be folded there", got=str(bound.site),
            remedy="intervene at attention_output, mlp_output, (head_)attention_value_output, mlp_hidden or a "
            "projection, or steer with das.steer",
        )  # fmt: skip
    module = view.model.get_submodule(found.path)
    if not is_matrix(module):
        raise CapabilityError(
            "the weight next to this site is quantized or wrapped by an adapter", got=f"{type(module).__name__}",
            remedy="load the model unquantized, and merge adapters first",
        )  # fmt: skip
    if len(names := owners(view.model, module.weight)) > 1:  # type: ignore[arg-type]
        raise CapabilityError("this weight is shared, so an edit would act elsewhere too", got=", ".join(names))
    return found


def _beside(view: ModelView, bound: BoundSite) -> Beside | None:
    if getattr(getattr(bound.module, "weight", None), "ndim", 0) == 2 and not isinstance(bound.module, nn.Embedding):
        return Beside(bound.path, bound.side, 1 if bound.side == "input" else 0, bound.columns)
    if bound.side != "output":
        return None
    for component, projection in (("attention_output", "attention_value_output"), ("mlp_output", "mlp_hidden")):
        if _same(view, bound, component) and (last := _bound(view, bound.block, projection)) is not None:
            return Beside(last.path, "output", 1, None)
    if _same(view, bound, "mlp_activation") and (down := _bound(view, bound.block, "mlp_hidden")) is not None:
        return Beside(down.path, "input", 0, None) if _ungated(view, bound.block, down) else None
    return None


def _same(view: ModelView, bound: BoundSite, component: str) -> bool:
    other = _bound(view, bound.block, component)
    return other is not None and other.module is bound.module


def _bound(view: ModelView, layer: int, component: str) -> BoundSite | None:
    try:
        return view.bind(Site(layer, component))
    except SiteError:
        return None


def _ungated(view: ModelView, layer: int, down: BoundSite) -> bool:
    """Whether the activation is all that the down projection reads: the MLP has one other matrix, as wide."""
    mlp = view.bind(Site(layer, "mlp_output")).module
    others = [m for m in mlp.modules() if is_matrix(m) and m is not down.module]
    return [getattr(m, "out_features", getattr(m, "nf", None)) for m in others] == [down.width]
