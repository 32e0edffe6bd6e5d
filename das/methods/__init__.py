"""Named methods, one per file.

Module `my_method` defines the function `my_method` (learned: width -> intervention) or the class `MyMethod` (estimated:
labelled activations -> intervention), and `method("my_method", ...)` finds it.
"""

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

    Returns:
        A function of `width`, or an estimator (`das.estimators.base`).

    Raises:
        UnknownChoiceError: there is no such method.
    """
    if name not in names():
        raise UnknownChoiceError("method", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    builder = getattr(module, name, None)
    if builder is not None:
        return partial(builder, **settings)
    return getattr(module, "".join(word.capitalize() for word in name.split("_")))(**settings)


def names() -> list[str]:
    """All methods."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))
