"""Named methods, one per file.

Module NAME says in `METHOD` what `method("NAME", ...)` finds: a function of the width (learned: width -> intervention),
or a class (estimated: labelled activations -> intervention).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import partial
from typing import Any

from das.errors import UnknownChoiceError


def method(name: str, **settings: Any) -> Any:
    """A method by name, with all of its settings but the width.

    Args:
        name: of a file in `das/methods`, e.g. "das".
        **settings: of the method, e.g. `rank=1`.

    Returns:
        A function of `width`, or an estimator (`das.estimators.base`).

    Raises:
        UnknownChoiceError: there is no such method.
    """
    if name not in names():
        raise UnknownChoiceError("method", name, names())
    found = importlib.import_module(f"{__name__}.{name}").METHOD
    return found(**settings) if inspect.isclass(found) else partial(found, **settings)


def names() -> list[str]:
    """All methods."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))
