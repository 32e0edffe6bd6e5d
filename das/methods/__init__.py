"""Named methods, one per file: module NAME defines a function or class NAME, and `method(NAME, ...)` finds it."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import partial
from typing import Any

from das.errors import UnknownChoiceError


def method(name: str, **settings: Any) -> Any:
    """A method by name, with all of its settings but the width.

    Args:
        name: of a file in `das/methods`, e.g. "das".
        **settings: of the method, e.g. `rank=1`.

    Raises:
        UnknownChoiceError: there is no such method.
    """
    if name not in names():
        raise UnknownChoiceError("method", name, names())
    found = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    return partial(found, **settings)


def names() -> list[str]:
    """All methods."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))
