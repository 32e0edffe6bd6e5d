"""Interventions as plain data, so that an artifact can rebuild them without running any code of its own.

A part is named "MODULE:CLASS" (or as it was registered), plus constructor arguments that are plain JSON. Loading
constructs only subclasses of `Part` that are defined in das itself or that this process has registered with
`register_part`: a name in a file is looked up, never imported from elsewhere.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, overload

from das.conditioners.base import Conditioner
from das.edits.base import Edit
from das.errors import ArtifactError, InputError, UnknownChoiceError
from das.featurizers.base import Featurizer
from das.gates.base import Gate
from das.interventions.base import Intervention
from das.part import Part
from das.seeding import seeded

P = TypeVar("P", bound=Part)

_KINDS: dict[str, Any] = {"featurizer": Featurizer, "edit": Edit, "gate": Gate, "conditioner": Conditioner}
#: Packages of das that define parts.
_PACKAGES = ("das.featurizers", "das.edits", "das.gates", "das.conditioners", "das.methods")

_registered: dict[str, type[Part]] = {}


@overload
def register_part(part: type[P], *, name: str | None = None) -> type[P]: ...
@overload
def register_part(part: None = None, *, name: str) -> Callable[[type[P]], type[P]]: ...
def register_part(part: type[P] | None = None, *, name: str | None = None) -> Any:
    """Make a part that is defined outside of das known to artifacts; a decorator, also as `register_part(name=...)`.

    Whoever loads such an artifact has to import the module that registers it first.

    Args:
        part: the class.
        name: what artifacts call it, whatever becomes of its class and module; "MODULE:CLASS" by default.

    Raises:
        InputError: a class of the main script without a name, or a name that looks like one of das's own.
    """
    if part is None:
        return partial(register_part, name=name)
    if name is None and part.__module__ == "__main__":
        raise InputError(
            "a part of the main script is in another module wherever its artifacts are loaded", got=_name(part),
            remedy='name it: das.register_part(name="my_part"), or define it in a module that is imported',
        )  # fmt: skip
    if name is not None and name.startswith("das."):
        raise InputError("names of parts that begin with 'das.' are das's own", got=name, remedy="choose another one")
    _registered[name or _name(part)] = part
    return part


def to_spec(intervention: Intervention) -> dict[str, Any]:
    """Plain data from which `from_spec` and the state dict rebuild the intervention.

    Raises:
        ArtifactError: a part could not be found again when it is loaded.
    """
    parts = {kind: getattr(intervention, kind) for kind in _KINDS}
    return {
        "method": intervention.name,
        **{kind: None if part is None else _described(part) for kind, part in parts.items()},
        "steering": {op: _described(edit) for op, edit in intervention.steering.items()},
    }


def from_spec(spec: Mapping[str, Any]) -> Intervention:
    """Inverse of `to_spec`, with freshly initialised tensors; the global random state is left alone.

    Raises:
        ArtifactError: the description is incomplete or malformed.
        UnknownChoiceError: it names a part that is neither das's nor registered.
    """
    try:
        with seeded(0):
            parts: dict[str, Any] = {kind: None if spec[kind] is None else _built(kind, spec[kind]) for kind in _KINDS}
            steering = {str(op): _built("edit", edit) for op, edit in spec["steering"].items()}
        featurizer, edit = parts.pop("featurizer"), parts.pop("edit")
        if featurizer is None or edit is None:
            raise KeyError("featurizer and edit")
        return Intervention(featurizer, edit, **parts, steering=steering, name=str(spec["method"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError("an intervention's description is incomplete or malformed", got=str(error)) from error


def _name(part: type[Part]) -> str:
    return f"{part.__module__}:{part.__qualname__}"


def _described(part: Part) -> dict[str, Any]:
    cls = type(part)
    name = next((known for known, registered in _registered.items() if registered is cls), _name(cls))
    if name not in _registered and _found(name) is not cls:
        raise ArtifactError(
            "a part of this intervention could not be found again when the artifact is loaded", got=_name(cls),
            remedy="define it at the top level of a module and register it: das.register_part(YourPart)",
        )  # fmt: skip
    return {"class": name, "params": part.params()}


def _built(kind: str, spec: Mapping[str, Any]) -> Any:
    name = str(spec["class"])
    cls = _registered.get(name) or _found(name)
    if cls is None or not issubclass(cls, _KINDS[kind]):
        remedy = "It may need a newer das, or a module that registers it (on the command line imports=[MODULE])"
        raise UnknownChoiceError(f"{kind} in an artifact", name, known(kind), remedy)
    return cls(**spec["params"])


def _found(name: str) -> type[Part] | None:
    """A concrete part of das by name; nothing outside the packages that define parts is ever imported."""
    module, _, cls = name.partition(":")
    if not any(module.startswith(f"{package}.") for package in _PACKAGES) or not all(
        piece.isidentifier() for piece in module.split(".")
    ):
        return None
    try:
        found = getattr(importlib.import_module(module), cls, None)
    except ImportError:
        return None
    own = inspect.isclass(found) and issubclass(found, Part) and found.__module__ == module
    return found if own and not inspect.isabstract(found) else None


def known(kind: str) -> list[str]:
    """Names of all parts of a kind that das defines or this process registered."""
    names = [name for name, cls in _registered.items() if issubclass(cls, _KINDS[kind])]
    for package in _PACKAGES:
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
            module = importlib.import_module(f"{package}.{info.name}")
            for cls in vars(module).values():
                if inspect.isclass(cls) and cls.__module__ == module.__name__ and issubclass(cls, _KINDS[kind]):
                    name = f"{cls.__module__}:{cls.__qualname__}"
                    names += [name] if _found(name) is cls else []
    return sorted(set(names))
