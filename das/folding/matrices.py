"""Matrices of a model, and affine maps of their inputs or outputs written into them.

Output side   W <- M W,  b <- M b + o          where y = W x + b becomes M y + o
Input side    b <- b + W o,  W <- W M          where x becomes M x + o
The maths runs in fp64; weights keep their dtype and device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from das.interventions.affine import AffineMap
from das.models.widths import Columns


@dataclass(frozen=True)
class Step:
    """One map at one matrix.

    Attributes:
        path: the matrix's path in the model.
        side: which side of it the map acts on.
        stage: place in the forward among those of the same side; ties in the order of declaration.
        columns: columns of that side it covers, None for all.
        map: what it does to them.
    """

    path: str
    side: str
    stage: int
    columns: Columns
    map: AffineMap


def is_matrix(module: nn.Module) -> bool:
    """Whether this is a plain linear layer, `nn.Linear` or GPT-2's `Conv1D`: not quantized, no adapter around it."""
    plain = type(module) is nn.Linear or (hasattr(module, "nf") and hasattr(module, "nx"))
    weight = getattr(module, "weight", None)
    return plain and isinstance(weight, nn.Parameter) and weight.is_floating_point() and weight.element_size() > 1


def needs_bias(module: nn.Module, steps: Sequence[Step]) -> bool:
    """Whether these steps give the matrix a bias it does not have."""
    return getattr(module, "bias", None) is None and any(step.map.shifts for step in steps)


@torch.no_grad()
def rewrite(module: Any, steps: Sequence[Step]) -> None:
    """Write the steps of one matrix into it, in place."""
    turned = type(module) is not nn.Linear  # Conv1D keeps (inputs, outputs)
    weight = module.weight.detach().to("cpu", torch.float64)
    weight = weight.T.clone() if turned else weight.clone()
    bias = torch.zeros(weight.shape[0], dtype=torch.float64)
    if module.bias is not None:
        bias = module.bias.detach().to("cpu", torch.float64).clone()
    for step in _ordered(steps, "input")[::-1]:
        at = _index(step.columns)
        bias += weight[:, at] @ step.map.offset
        weight[:, at] += (weight[:, at] @ step.map.write) @ step.map.read.T
    for step in _ordered(steps, "output"):
        at = _index(step.columns)
        weight[at] = step.map.linear(weight[at])
        bias[at] = step.map.linear(bias[at]) + step.map.offset
    module.weight.copy_(weight.T if turned else weight)
    if module.bias is not None:
        module.bias.copy_(bias)


@torch.no_grad()
def rewrite_embeddings(model: Any, tables: Sequence[str], made: AffineMap) -> None:
    """Map what the token embedding and its companions (learned positions) put out together, in place."""
    for path in tables:
        table = model.get_submodule(path)
        rows = made.linear(table.weight.detach().to("cpu", torch.float64).T).T
        if table is model.get_input_embeddings():
            rows = rows + made.offset / getattr(table, "scalar_embed_scale", 1.0)
        table.weight.copy_(rows)


def _ordered(steps: Sequence[Step], side: str) -> list[Step]:
    return sorted((step for step in steps if step.side == side), key=lambda step: step.stage)


def _index(columns: Columns) -> slice | list[int]:
    return slice(None) if columns is None else columns if isinstance(columns, slice) else list(columns)


def outer_tables(model: nn.Module, blocks: nn.ModuleList, width: int) -> list[str]:
    """Paths of the embedding tables in front of the blocks."""
    inner = set(blocks.modules())
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module not in inner and module.embedding_dim == width
    ]


def owners(model: nn.Module, parameter: Tensor) -> list[str]:
    """Names under which a parameter occurs; several where it is tied."""
    return [name for name, p in model.named_parameters(remove_duplicate=False) if p is parameter]
