"""Named methods, one per file.

Module NAME says in `METHOD` what `method("NAME", ...)` finds: a function of the width (learned: width -> intervention),
or a class (estimated: labelled activations -> intervention).
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from das.members import Members

_MEMBERS = Members(__name__, "METHOD", "method")


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
    found = _MEMBERS.get(name)
    return found(**settings) if inspect.isclass(found) else partial(found, **settings)


def names() -> tuple[str, ...]:
    """All methods."""
    return _MEMBERS.names()
