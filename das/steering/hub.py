"""Everything that das has registered on one model while it is steered.

One hub per model, however many steerings are active: it reads each forward's positions once, keeps the edits in the
order in which they were asked for (whatever the order of removal), and is gone with the last steering.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MethodType
from typing import Any, final
from weakref import ReferenceType, WeakKeyDictionary, ref

from torch import nn

from das.engine.hooks import attach
from das.errors import EngineError
from das.steering.calls import Given, named, read_call, read_given
from das.steering.run import Run
from das.steering.tables import Table

#: A model owns its hub, through the hooks that it has; nothing here keeps either alive.
_HUBS: WeakKeyDictionary[nn.Module, ReferenceType[Hub]] = WeakKeyDictionary()


def hub_of(model: nn.Module) -> Hub:
    """The model's hub, made on first use."""
    known = _found(model)
    if known is None:
        known = Hub(model)
        _HUBS[model] = ref(known)
    return known


def steers(model: nn.Module, run: Run) -> bool:
    """Whether this steering of the model is active."""
    hub = _found(model)
    return hub is not None and any(r is run for r in hub.runs)


@contextmanager
def unsteered(model: nn.Module) -> Iterator[None]:
    """The model as it is, for the duration: active steerings pause."""
    hub = _found(model)
    if hub is None:
        yield
        return
    with hub.paused():
        yield


def _found(model: nn.Module) -> Hub | None:
    known = _HUBS.get(model)
    return None if known is None else known()


@final
class Hub:
    """Hooks and the wrapped `generate` of one model. A deep copy of the model is not steered.

    Several threads may call `generate`, one after the other; forwards of one's own are for one thread.

    Args:
        model: what is steered; untouched while no run is added.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._runs: list[Run] = []
        self._stack = ExitStack()
        self._given: Given | None = None
        self._plans: dict[int, tuple[Table, ...]] = {}
        self._forwards = 0
        self._lock = threading.RLock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Hub:
        """Hooks that a copied model took along still point here, and do nothing for it."""
        return self

    def add(self, run: Run) -> None:
        """Start a steering, after those that are active."""
        self._set([*self._runs, run])

    def remove(self, run: Run) -> None:
        """End a steering; the last one out leaves the model as it was."""
        self._set([r for r in self._runs if r is not run])
        if not self._runs:
            _HUBS.pop(self._model, None)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The active steerings, in order."""
        return tuple(self._runs)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No hooks for the duration."""
        runs = self._runs
        self._set([])
        try:
            yield
        finally:
            self._set(runs)

    def _set(self, runs: list[Run]) -> None:
        self._stack.close()
        self._runs, self._stack = [], ExitStack()
        if not runs:
            return
        with ExitStack() as stack:  # whatever fails here leaves nothing behind
            visits = [visit for run in runs for visit in run.visits]
            for bound, visitor in reversed(visits):  # hooks are prepended: the last one registered runs first
                attach(stack, bound, visitor)
            before = self._model.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True)
            stack.callback(before.remove)
            stack.callback(self._model.register_forward_hook(self._after, always_call=True).remove)
            if hasattr(self._model, "generate"):
                stack.callback(self._wrap_generate())
            self._runs, self._stack = runs, stack.pop_all()

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model is not self._model:
            return
        self._forwards += 1
        call = read_call(model, args, kwargs, self._given)
        for run in self._runs:
            plan = None
            if self._given is not None:
                if id(run) not in self._plans:  # a steering that began within this `generate`
                    self._plans[id(run)] = run.plan(self._given)
                plan = self._plans[id(run)]
            run.begin(call, plan)

    def _after(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if model is not self._model:
            return
        wrong = None
        for run in self._runs:
            try:
                run.end(completed=output is not None)
            except EngineError as error:
                wrong = error
        if wrong is not None:
            raise wrong

    def _wrap_generate(self) -> Callable[[], None]:
        """Put a wrapper in front of `generate` on this object; returns how to take it off."""
        model: Any = self._model
        own = vars(model).get("generate")
        original: Callable[..., Any] = model.generate

        generate = _Generate(self, model, original)

        def restore() -> None:
            if vars(model).get("generate") is generate:
                if own is None:
                    del model.generate
                else:
                    object.__setattr__(model, "generate", own)

        object.__setattr__(model, "generate", generate)
        return restore

    @contextmanager
    def generating(self, arguments: Mapping[str, Any]) -> Iterator[None]:
        """Know the prompts for the duration of one `generate`."""
        with self._lock:
            yield from self._known(arguments)

    def _known(self, arguments: Mapping[str, Any]) -> Iterator[None]:
        if not self._runs:  # a wrapper that outlived its steering because something else wrapped it in turn
            yield
            return
        outer, before = (self._given, self._plans), self._forwards
        given = read_given(self._model, arguments)
        self._plans = {} if given is None else {id(run): run.plan(given) for run in self._runs}
        self._given = given
        try:
            yield
            if self._forwards == before:
                raise EngineError(
                    "generate ran without a single forward of the steered model",
                    remedy="steer before torch.compile, not after (or call torch.compiler.reset())",
                )
        finally:
            self._given, self._plans = outer


class _Generate:
    """`generate` of a steered model: tells the hub which prompts it is given."""

    def __init__(self, hub: Hub, model: nn.Module, original: Callable[..., Any]) -> None:
        self._hub, self._model, self._original = hub, model, original
        functools.update_wrapper(self, original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._hub.generating(named(self._original, args, kwargs)):
            return self._original(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Any]:
        """A copied model gets its own, unsteered one."""
        copied = memo.get(id(self._model))
        if copied is None or not isinstance(self._original, MethodType):
            return self._original
        return MethodType(self._original.__func__, copied)
