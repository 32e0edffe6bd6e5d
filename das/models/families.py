"""A model seen as blocks, final norm and head; and sites bound to the modules they mean.

`ModelView(model).bind(site)` resolves a component name (pyvene's, a TransformerLens alias, or a module path) to the
module to hook, the columns it covers, and the block at whose input a resumed forward reproduces it. Only shapes are
looked at, so it works on the meta device, in any dtype, on quantized and on sharded models. The families are rows of
a table, `das.models.layouts`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from das.errors import ModelError
from das.models.layouts import ALIASES, places
from das.models.parts import find_parts
from das.models.paths import bind_path
from das.models.sites import BoundSite, bind_component, component_names
from das.models.widths import descend
from das.models.writers import Writers, writers
from das.types import Site


class ModelView:
    """A read-only view of a model; holds no tensors, registers nothing, changes nothing.

    Args:
        model: a causal LM, or any network (one without decoder blocks binds module paths only).
    """

    def __init__(self, model: nn.Module) -> None:
        self._parts = find_parts(model)

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self._parts.model

    @property
    def family(self) -> str:
        """`config.model_type`, or the class name of a network without a config."""
        return self._parts.family

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder blocks, in order; empty where there are none."""
        return self._parts.blocks

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(self._parts.blocks)

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last block and the head. Raises ModelError where none is found."""
        return _found(self._parts.final_norm, "final norm", self.family)

    @property
    def head(self) -> nn.Module:
        """The output embedding, from normed hidden states to logits. Raises ModelError where none is found."""
        return _found(self._parts.head, "output embedding", self.family)

    @property
    def device(self) -> torch.device:
        """Where token ids go: the input embedding's device."""
        embedding: Any = self._parts.model.get_input_embeddings()  # type: ignore[operator]
        return embedding.weight.device

    @property
    def width(self) -> int:
        """Width of the residual stream. Raises ModelError where no module says."""
        return self._parts.width

    def writers(self, layer: int) -> Writers | None:
        """What writes to the residual stream in a block; None where its layout is not known."""
        return writers(self._parts, layer)

    def tokenwise(self, layer: int) -> tuple[nn.Module, ...]:
        """Modules of a block that treat every token on its own: the attention's output projection and the MLP."""
        found = (descend(self.blocks[layer], path) for path in (self._parts.layout.mix, self._parts.layout.mlp))
        return tuple(module for module in found if module is not None)

    def components(self) -> tuple[str, ...]:
        """Names that bind in at least one layer of this model, aliases last."""
        return component_names(self._parts)

    def bind(self, site: Site) -> BoundSite:
        """Find the module, side, columns and block of a site.

        Raises:
            UnknownChoiceError: the component is neither a known name nor a module path.
            SiteError: the layer or a head is out of range, this model has no such component (the message says why),
                the module path does not exist, or its width cannot be read.
        """
        name = ALIASES.get(site.component, site.component)
        if name in places(self._parts.layout):
            return bind_component(self._parts, site, name)
        return bind_path(self._parts, site)


def _found(module: nn.Module | None, what: str, family: str) -> nn.Module:
    if module is None:
        raise ModelError(f"cannot find the {what}", got=family, remedy="use a model with the usual decoder layout")
    return module
