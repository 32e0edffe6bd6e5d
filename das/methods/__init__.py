"""Named methods, one per file.

Module NAME says in `METHOD` what `method("NAME", ...)` finds: a function of the width (learned: width -> intervention),
or a class (estimated: labelled activations -> intervention). It says in `TRAINED_BY` by which objective that is trained
unless another is given, where it is not `counterfactual_ce`; its yaml overrides the objective in the same way.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
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


def trained_by(method: Any) -> str:
    """Name of the objective that a method, of this package or of anybody's, is trained by unless told otherwise."""
    while isinstance(method, partial):
        method = method.func
    module = sys.modules.get(getattr(method, "__module__", ""))
    return str(getattr(module, "TRAINED_BY", "counterfactual_ce"))


def names() -> list[str]:
    """All methods."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))
