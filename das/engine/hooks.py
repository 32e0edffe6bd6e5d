"""Splicing into a module: the file that knows that some modules return a tensor and others a tuple.

Rules kept here (each one a bug somewhere in the field): writes are out of place; hooks are registered with
`prepend=True`, so `output_hidden_states` shows edited values; only our own hooks are removed, also when registration or
the forward fails; a hook that does not fire as often as expected is an error, never a silent no-op.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from das.errors import EngineError
from das.models.families import BoundSite

Hidden = Float[Tensor, "batch tokens width"]
#: Sees the site's columns of the hooked tensor, (B, T, width); returns their replacement, or None to leave them.
Visitor = Callable[[Tensor], Tensor | None]


class StopForwardError(Exception):
    """Raised by a hook to end a forward whose remainder nobody needs."""


@contextmanager
def spliced(visits: Sequence[tuple[BoundSite, Visitor]], expected: int | None = 1) -> Iterator[None]:
    """Call visitors whenever their sites are computed, in declared order at a shared module.

    Args:
        visits: (site, visitor) pairs.
        expected: how often each must fire within the block; None skips the check (generation).

    Raises:
        EngineError: a visitor fired another number of times although the forward ended normally.
    """
    fired = [0] * len(visits)
    stopped = False
    with ExitStack() as stack:
        for i, (bound, visitor) in reversed(list(enumerate(visits))):  # prepend reverses the order of a module's hooks
            attach(stack, bound, _counted(visitor, fired, i))
        try:
            yield
        except StopForwardError:
            stopped = True
    if expected is not None and (wrong := [i for i, n in enumerate(fired) if n != expected]):
        raise EngineError(
            "a hook did not fire as often as the forward should have made it",
            got=", ".join(f"{visits[i][0].path} ({visits[i][0].side}) fired {fired[i]}x" for i in wrong)
            + (" before the forward was cut short" if stopped else ""),
            remedy="the model skips or repeats this module; choose another component, or a free-form module path",
        )


def attach(stack: ExitStack, bound: BoundSite, visitor: Visitor) -> None:
    """Register one visitor at one site; closing `stack` removes it.

    A deep copy of the module takes its hooks along; in there they do nothing.
    """
    residual: list[Tensor] = []
    if bound.residual is not None:

        def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if module is bound.residual:
                residual[:] = [_find_input(args, kwargs)]

        stack.callback(bound.residual.register_forward_pre_hook(remember, with_kwargs=True).remove)

    def replaced(full: Tensor) -> Tensor | None:
        return _visit(full, bound, visitor, residual[0] if residual else None)

    if bound.side == "input":

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            new = replaced(_find_input(args, kwargs)) if module is bound.module else None
            return None if new is None else _with_input(args, kwargs, new)

        handle = bound.module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
    else:

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            full = output[0] if isinstance(output, tuple | list) else output
            new = replaced(full) if module is bound.module else None
            if new is None:
                return None
            return (new, *output[1:]) if isinstance(output, tuple | list) else new

        handle = bound.module.register_forward_hook(after, prepend=True)
    stack.callback(handle.remove)


def _counted(visitor: Visitor, fired: list[int], i: int) -> Visitor:
    def count(hidden: Tensor) -> Tensor | None:
        fired[i] += 1
        return visitor(hidden)

    return count


def _visit(full: Tensor, bound: BoundSite, visitor: Visitor, residual: Tensor | None) -> Tensor | None:
    whole = full if residual is None else full + residual
    part = take_columns(whole, bound.columns)
    new = visitor(part)
    if new is None:
        return None
    if residual is not None:  # resid_mid: the change is added to the branch, so that the skip path carries it on
        return put_columns(full, bound.columns, take_columns(full, bound.columns) + (new - part))
    return put_columns(full, bound.columns, new)


def take_columns(hidden: Tensor, columns: slice | tuple[int, ...] | None) -> Tensor:
    """The site's columns of the last axis."""
    if columns is None:
        return hidden
    return hidden[..., columns] if isinstance(columns, slice) else hidden[..., list(columns)]


def put_columns(hidden: Tensor, columns: slice | tuple[int, ...] | None, new: Tensor) -> Tensor:
    """`hidden` with the site's columns replaced, out of place."""
    if columns is None:
        return new
    out = hidden.clone()
    out[..., columns if isinstance(columns, slice) else list(columns)] = new
    return out


def _find_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    if args and isinstance(args[0], Tensor):
        return args[0]
    for name in ("hidden_states", "x", "input"):
        if isinstance(kwargs.get(name), Tensor):
            return kwargs[name]
    raise EngineError("a hooked module got no tensor input", got=f"keywords {sorted(kwargs)}")


def _with_input(args: tuple[Any, ...], kwargs: dict[str, Any], new: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args and isinstance(args[0], Tensor):
        return (new, *args[1:]), kwargs
    name = next(n for n in ("hidden_states", "x", "input") if isinstance(kwargs.get(n), Tensor))
    return args, {**kwargs, name: new}


@contextmanager
def replaced_input(module: nn.Module, make: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace a module's input by `make(input)` for the duration of the block."""

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _with_input(args, kwargs, make(_find_input(args, kwargs)))

    handle = module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def gather_positions(hidden: Tensor, index: Tensor) -> Tensor:
    """(B, T, width) at columns (B, P) -> (B, P, width)."""
    index = index.to(hidden.device)
    return hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1]))


def put_positions(hidden: Tensor, index: Tensor, mask: Tensor, new: Tensor) -> Tensor:
    """`hidden` (B, T, width) with columns `index` (B, P) replaced by `new` where `mask`, out of place."""
    index, mask = index.to(hidden.device), mask.to(hidden.device)
    if bool(mask.all()):
        return hidden.scatter(1, index[..., None].expand_as(new), new)
    row, slot = mask.nonzero(as_tuple=True)
    return hidden.index_put((row, index[row, slot]), new[row, slot])


def captures(
    wanted: Sequence[tuple[BoundSite, Tensor | None]], stop: bool
) -> tuple[list[tuple[BoundSite, Visitor]], list[Tensor | None]]:
    """Visitors that copy activations into a list; with `stop`, the last one to fire ends the forward.

    Args:
        wanted: (site, columns (B, P) of the tokens to keep, or None for all).
        stop: raise `StopForwardError` once everything is captured.
    """
    found: list[Tensor | None] = [None] * len(wanted)

    def visitor(i: int, index: Tensor | None) -> Visitor:
        def keep(hidden: Tensor) -> None:
            kept = hidden.detach()
            found[i] = kept.clone() if index is None else gather_positions(kept, index)
            if stop and all(f is not None for f in found):
                raise StopForwardError

        return keep

    return [(bound, visitor(i, index)) for i, (bound, index) in enumerate(wanted)], found
