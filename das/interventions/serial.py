"""Interventions as plain data and tensors, so that an artifact can rebuild them without running any code of its own.

A part (featurizer, edit, gate) is named by the module of this package that defines it ("rotation"), plus constructor
arguments that are plain JSON. Loading can therefore only ever construct classes that ship with das.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from das.edits.base import Edit
from das.errors import ArtifactError, UnknownChoiceError
from das.featurizers.base import Featurizer
from das.gates.base import Gate
from das.interventions.base import Capabilities, Intervention

_KINDS: dict[str, tuple[str, type[nn.Module]]] = {
    "featurizer": ("das.featurizers", Featurizer),
    "edit": ("das.edits", Edit),
    "gate": ("das.gates", Gate),
}


def to_spec(intervention: Intervention) -> dict[str, Any]:
    """Plain data from which `from_spec` and the state dict rebuild the intervention."""
    parts = {kind: getattr(intervention, kind) for kind in _KINDS}
    specs = {k: {"family": type(p).__module__.rsplit(".", 1)[-1], "params": p.params()} for k, p in parts.items()}
    return {"method": intervention.name, **specs, "capabilities": asdict(intervention.capabilities)}


def from_spec(spec: Mapping[str, Any]) -> Intervention:
    """Inverse of `to_spec`, with freshly initialised tensors."""
    try:
        parts = {kind: _build(kind, spec[kind]) for kind in _KINDS}
        capabilities: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in spec["capabilities"].items()
        }
        return Intervention(
            parts["featurizer"], parts["edit"], parts["gate"],
            name=str(spec["method"]), capabilities=Capabilities(**capabilities),
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError("an intervention's description is incomplete or malformed", got=str(error)) from error


def families(kind: str) -> dict[str, type[nn.Module]]:
    """Family name -> class, for "featurizer", "edit" or "gate": every module of that folder that defines one."""
    package_name, base = _KINDS[kind]
    package = importlib.import_module(package_name)
    found: dict[str, type[nn.Module]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package_name}.{info.name}")
        for cls in vars(module).values():
            if inspect.isclass(cls) and issubclass(cls, base) and cls.__module__ == module.__name__ and cls is not base:
                found[info.name] = cls
    return found


def _build(kind: str, spec: Mapping[str, Any]) -> Any:
    known = families(kind)
    if spec["family"] not in known:
        raise UnknownChoiceError(f"{kind} family", str(spec["family"]), known, "It may need a newer das")
    return known[spec["family"]](**spec["params"])
