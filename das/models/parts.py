"""The parts of a model: blocks, final norm, head, and the layout of its blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from das.errors import ModelError
from das.models.layouts import BLOCK_PATHS, LAYOUTS, LLAMA_SHAPED, NORM_NAMES, Layout
from das.models.widths import descend, module_width


@dataclass(frozen=True)
class Parts:
    """What was found in a model. Holds references to its modules and no tensors.

    Attributes:
        model: the model.
        family: its `config.model_type`, or its class name where it has no config.
        layout: module paths of this family; of Llama for an unlisted one.
        prefix: path of the blocks in the model; "" where there are none.
        blocks: the decoder blocks; empty for a network that has none.
        final_norm, head: the norm after the blocks and the output embedding, or None.
        query_heads: number of query heads the config gives, used only where the attention module is silent.
    """

    model: nn.Module
    family: str
    layout: Layout
    prefix: str
    blocks: nn.ModuleList
    final_norm: nn.Module | None
    head: nn.Module | None
    query_heads: int | None

    @property
    def width(self) -> int:
        """Width of the residual stream, read from the final norm or else the input embedding.

        Raises:
            ModelError: neither says.
        """
        own = None if self.final_norm is None else module_width(self.final_norm, "output")
        getter = getattr(self.model, "get_input_embeddings", None)
        if own is None and getter is not None:
            own = module_width(getter(), "output")
        if own is None:
            raise ModelError("cannot read the width of the residual stream", got=self.family)
        return own


def find_parts(model: nn.Module) -> Parts:
    """Look a model's parts up in the table of families, or among the usual module paths for an unlisted one."""
    config = getattr(model, "config", None)
    family = getattr(config, "model_type", "") or type(model).__name__
    layout = LAYOUTS.get(family)
    prefix, blocks = _blocks(model, ((layout.blocks,) if layout else ()) + BLOCK_PATHS)
    parent = prefix.rpartition(".")[0]
    norms = ((layout.final_norm,) if layout else ()) + tuple(f"{parent}.{name}".lstrip(".") for name in NORM_NAMES)
    head = getattr(model, "get_output_embeddings", None)
    text = config if config is None or not hasattr(config, "get_text_config") else config.get_text_config()
    return Parts(
        model=model,
        family=family,
        layout=layout or LLAMA_SHAPED,
        prefix=prefix,
        blocks=blocks,
        final_norm=next((m for path in norms if (m := descend(model, path)) is not None), None),
        head=head() if head else None,
        query_heads=getattr(text, "num_attention_heads", None),
    )


def _blocks(model: nn.Module, paths: tuple[str, ...]) -> tuple[str, nn.ModuleList]:
    for path in paths:
        found = descend(model, path)
        if isinstance(found, nn.ModuleList) and len(found):
            return path, found
    return "", nn.ModuleList()
