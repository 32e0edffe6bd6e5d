"""The last block works on the label columns only: nobody looks at what it makes of the other tokens.

Keys and values of all tokens are still needed, but the attention's output projection and the MLP treat every token on
its own, and most of a block's arithmetic is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from das.engine.hooks import gather_positions, replaced_input
from das.models.families import ModelView


@contextmanager
def narrowed(view: ModelView, columns: Int[Tensor, "batch label"], length: int) -> Iterator[None]:
    """Inside, the last block's modules that treat tokens one by one see `columns` alone; other columns hold zeros.

    Args:
        view: the model.
        columns: whose outputs are wanted.
        length: tokens of each row; nothing is changed unless at least a quarter of them is left out.
    """
    with ExitStack() as stack:
        if view.n_layers and 4 * columns.shape[1] <= 3 * length:
            for module in view.tokenwise(view.n_layers - 1):
                _narrow(stack, module, columns)
        yield


def _narrow(stack: ExitStack, module: nn.Module, columns: Tensor) -> None:
    lengths: list[int] = []

    def wanted(hidden: Tensor) -> Tensor:
        lengths[:] = [hidden.shape[1]]
        return gather_positions(hidden, columns)

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        made = output[0] if isinstance(output, tuple) else output
        whole = _put_back(made, columns.to(made.device), lengths[0])
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    stack.enter_context(replaced_input(module, wanted))
    stack.callback(module.register_forward_hook(after).remove)


def _put_back(made: Tensor, columns: Tensor, length: int) -> Tensor:
    """(B, K, width) at columns of (B, length, width); of a column named twice, the first."""
    again = (columns[:, :, None] == columns[:, None, :]).tril(-1).any(-1)
    once = made.masked_fill(again[..., None], 0)
    return made.new_zeros(len(made), length, made.shape[2]).scatter_add(1, columns[..., None].expand_as(made), once)
