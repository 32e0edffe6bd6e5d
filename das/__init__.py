"""Learn interventions on frozen language models.

`import das` is instant: names are resolved on first use, and torch is imported only by those that need it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `_PUBLIC` says, for type checkers and editors
    from das.artifacts.subspace import Subspace as Subspace
    from das.conditioners.base import Conditioner as Conditioner
    from das.context import Context as Context
    from das.edits.base import Edit as Edit
    from das.errors import DasError as DasError
    from das.estimators.base import Examples as Examples
    from das.featurizers.base import Featurizer as Featurizer
    from das.featurizers.base import LinearFrame as LinearFrame
    from das.folding.fold import fold as fold
    from das.gates.base import Gate as Gate
    from das.interventions.base import Intervention as Intervention
    from das.interventions.serial import register_part as register_part
    from das.interventions.sets import InterventionSet as InterventionSet
    from das.interventions.sets import Placement as Placement
    from das.methods import method as method
    from das.models.load import load_model as load_model
    from das.models.load import load_tokenizer as load_tokenizer
    from das.objectives import objective as objective
    from das.objectives.base import Loss as Loss
    from das.objectives.base import Needs as Needs
    from das.part import Part as Part
    from das.patching.patch import patch as patch
    from das.steering.flips import evaluate_steering as evaluate_steering
    from das.steering.generate import generate_text as generate_text
    from das.steering.steer import steer as steer
    from das.training.controls.run import ControlSettings as ControlSettings
    from das.training.fit import Fit as Fit
    from das.training.fit import fit as fit
    from das.training.loop import TrainerSettings as TrainerSettings
    from das.training.optim import AdamW as AdamW
    from das.training.problem import DataSettings as DataSettings
    from das.training.settings import FitSettings as FitSettings
    from das.training.step import step as step
    from das.types import Contrast as Contrast
    from das.types import CounterfactualPair as CounterfactualPair
    from das.types import Prompt as Prompt
    from das.types import Site as Site
    from das.types import SpanFinder as SpanFinder

__version__ = "0.1.0"

_PUBLIC = {
    "AdamW": "das.training.optim",
    "Conditioner": "das.conditioners.base",
    "Context": "das.context",
    "Contrast": "das.types",
    "ControlSettings": "das.training.controls.run",
    "CounterfactualPair": "das.types",
    "DasError": "das.errors",
    "DataSettings": "das.training.problem",
    "Edit": "das.edits.base",
    "Examples": "das.estimators.base",
    "Featurizer": "das.featurizers.base",
    "Fit": "das.training.fit",
    "FitSettings": "das.training.settings",
    "Gate": "das.gates.base",
    "Intervention": "das.interventions.base",
    "InterventionSet": "das.interventions.sets",
    "LinearFrame": "das.featurizers.base",
    "Loss": "das.objectives.base",
    "Needs": "das.objectives.base",
    "Part": "das.part",
    "Placement": "das.interventions.sets",
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
    "objective": "das.objectives",
    "patch": "das.patching.patch",
    "register_part": "das.interventions.serial",
    "steer": "das.steering.steer",
    "step": "das.training.step",
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
