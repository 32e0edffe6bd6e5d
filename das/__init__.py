"""Learn interventions on frozen language models.

`import das` is instant: names are resolved on first use, and torch is imported only by those that need it.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "AdamW": "das.training.optim",
    "Contrast": "das.types",
    "ControlSettings": "das.training.controls.run",
    "CounterfactualPair": "das.types",
    "DasError": "das.errors",
    "DataSettings": "das.training.problem",
    "Fit": "das.training.fit",
    "FitSettings": "das.training.settings",
    "Prompt": "das.types",
    "Site": "das.types",
    "SpanFinder": "das.types",
    "Subspace": "das.artifacts.subspace",
    "TrainerSettings": "das.training.loop",
    "evaluate_steering": "das.steering.flips",
    "fit": "das.training.fit",
    "fold": "das.folding.fold",
    "generate_text": "das.steering.generate",
    "load_model": "das.models.load",
    "load_tokenizer": "das.models.load",
    "method": "das.methods",
    "patch": "das.patching.patch",
    "register_part": "das.interventions.serial",
    "steer": "das.steering.steer",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'das' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
