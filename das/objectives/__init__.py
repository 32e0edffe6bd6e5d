"""What training minimises. One objective per file; `base` has the interface and the token-weighted mean."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from das.errors import UnknownChoiceError


def objective(name: str, **settings: Any) -> Any:
    """An objective by the name of its file, whose `OBJECTIVE` it is, with settings.

    Raises:
        UnknownChoiceError: there is no such objective.
    """
    if name not in names():
        raise UnknownChoiceError("objective", name, names())
    return importlib.import_module(f"{__name__}.{name}").OBJECTIVE(**settings)


def names() -> list[str]:
    """All objectives."""
    return sorted({info.name for info in pkgutil.iter_modules(__path__)} - {"base", "sequences", "factor_grid"})
