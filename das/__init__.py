"""Learn interventions on frozen language models.

`import das` is instant: names are resolved on first use, and torch is imported only by those that need it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "CounterfactualPair": "das.types",
    "Contrast": "das.types",
    "Prompt": "das.types",
    "Site": "das.types",
    "SpanFinder": "das.types",
    "DasError": "das.errors",
    "load_model": "das.models.load",
    "load_tokenizer": "das.models.load",
}

__all__ = sorted([*_PUBLIC, "__version__"])  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'das' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
