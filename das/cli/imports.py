"""Modules of the user's own: importing them, and why that fails."""

from __future__ import annotations

import importlib
from typing import Any

from das.cli.typed import check_value
from das.errors import ConfigError


def import_all(names: Any) -> None:
    """Import modules that register parts, which an artifact may need.

    Raises:
        ConfigError: no list of names, or a module that cannot be imported.
    """
    check_value(names, list[str], "imports")
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a module does when it is imported
            raise ConfigError("a module of imports= cannot be imported", got=name, remedy=why_not(name)) from error


def why_not(target: str) -> str:
    """The first piece of a dotted name that is missing, or what its module raises when it is imported."""
    names, found = target.split("."), None
    for i, name in enumerate(names):
        path = ".".join(names[: i + 1])
        if found is not None and hasattr(found, name):
            found = getattr(found, name)
            continue
        try:
            found = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                return f"importing {path} fails: {error}"
            return f"there is no {name!r} in {'.'.join(names[:i])}" if i else f"no module {path!r} lies on PYTHONPATH"
        except Exception as error:  # as above
            return f"importing {path} fails: {type(error).__name__}: {error}"
    return ""
