"""Things found by the name of their file: module NAME of a package defines an attribute, and NAME is what it is called.

A module without the attribute is a helper. Finding them reads their text and imports none, so lists are instant.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from das.errors import UnknownChoiceError


@dataclass(frozen=True)
class Members:
    """The members of one package.

    Attributes:
        package: its dotted name.
        attribute: what a module defines that is a member.
        what: one of them, for messages.
    """

    package: str
    attribute: str
    what: str

    def names(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return _names(self.package, self.attribute)

    def get(self, name: str) -> Any:
        """The attribute of the module of that name.

        Raises:
            UnknownChoiceError: there is none.
        """
        if name not in self.names():
            raise UnknownChoiceError(self.what, name, self.names())
        return getattr(importlib.import_module(f"{self.package}.{name}"), self.attribute)


@cache
def _names(package: str, attribute: str) -> tuple[str, ...]:
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None, f"{package} is no package"
    defines = re.compile(rf"^{attribute}\b", re.MULTILINE)
    found = []
    for info in pkgutil.iter_modules(list(spec.submodule_search_locations)):
        loader: Any = info.module_finder.find_spec(info.name, None).loader  # type: ignore[union-attr]
        if defines.search(loader.get_source(info.name) or ""):
            found.append(info.name)
    return tuple(sorted(found))
