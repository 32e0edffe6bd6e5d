"""What determines the tensors an engine keeps of a dataset: all of it is hashed into the key of their file.

A key is two hashes, of everything but the weights and of the weights, so that these are read only where a file may fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

import das
from das.engine.engine import Engine
from das.engine.store import Store
from das.engine.survey import PairData, Survey
from das.models.checksum import checksum
from das.models.families import BoundSite
from das.outputs import FrozenRun

_LIBRARIES = ("torch", "transformers")
#: Packages of this one whose code makes what is kept.
_CODE = ("engine", "data", "models")
_DIGITS = 20


@runtime_checkable
class Identified(Protocol):
    """A dataset that can be told from others."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that is in its batches, pads aside."""
        ...

    @property
    def about(self) -> str:
        """What it is, for people."""
        ...


def why_not_identified(engine: Engine, data: PairData) -> str | None:
    """Why nothing names what this engine keeps of this data; None if something does."""
    model = engine.view.model
    if not isinstance(data, Identified):
        return "the data has no fingerprint"
    if any(p.is_meta for p in (*model.parameters(), *model.buffers())):
        return "weights are not in memory"
    if any(m._forward_hooks or m._forward_pre_hooks or _patched(m) for m in model.modules()):
        return "somebody else's hooks sit in the model"
    return None


def identity(
    engine: Engine, data: PairData, survey: Survey, runs: frozenset[FrozenRun], store: Store
) -> dict[str, Any]:
    """Everything but the tier and the weights, as JSON."""
    assert isinstance(data, Identified)
    devices = list(dict.fromkeys(p.device for p in engine.view.model.parameters()))
    return {
        "attention": str(getattr(engine.view.model.config, "_attn_implementation", None)),
        "devices": [str(d) for d in devices] if len(devices) > 1 else devices[0].type,
        "matmul": torch.get_float32_matmul_precision(),
        "data": data.fingerprint,
        "target": survey.target,
        "writes": _told(engine.visited),
        "reads": [dict(zip(read, _told(list(read.values())), strict=True)) for read in engine.reads],
        "block": engine.block,
        "runs": sorted(runs),
        "store": store,
        "code": _code(),
        "versions": {name: version(name) for name in _LIBRARIES} | {"das": das.__version__},
    }


def hashed(described: Mapping[str, Any]) -> str:
    """The first half of a key."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def hashed_weights(engine: Engine) -> str:
    """The second half."""
    return checksum(engine.view.model)[:_DIGITS]


def _told(sites: Sequence[BoundSite]) -> list[list[str]]:
    return [[s.path, s.side, str(s.columns), str(s.block)] for s in sites]


def _patched(module: nn.Module) -> bool:
    """Whether somebody replaced this module's forward; accelerate does, to move tensors between devices."""
    return "forward" in vars(module) and not hasattr(module, "_hf_hook")


@cache
def _code() -> str:
    """The source of what computes and lays out what is kept."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for file in sorted((Path(das.__file__).parent / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
