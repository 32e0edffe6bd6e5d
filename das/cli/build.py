"""From a composed configuration to objects: the only place that instantiates anything.

`parts` needs no model; `meta` and `tokenizer` need no weights; `model` loads them, once per process and arguments,
because the jobs of a multirun share a process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from das.cli.config import Config
from das.cli.progress import watched
from das.cli.steering import SteeringSettings
from das.cli.typed import checked_arguments, truth, whole
from das.errors import ConfigError
from das.metrics.base import Metric
from das.models.families import ModelView
from das.models.load import load_model, load_tokenizer, meta_model
from das.models.recipes.base import recipe
from das.models.resolve import is_own
from das.objectives.base import Objective
from das.steering.judges.base import Judge, ReadsModel
from das.tasks.base import Task
from das.training.measure import DEFAULT_METRICS
from das.training.recipe import Method
from das.training.settings import FitSettings
from das.types import Site

#: Fields of a site that may be lists, with their defaults.
_AXES = {"layer": None, "component": "block_output", "positions": "last"}


@dataclass(frozen=True)
class Parts:
    """Everything a run needs besides the model."""

    task: Task
    sites: tuple[Site, ...]
    tied: bool
    method: Method
    objective: Objective
    metrics: Mapping[str, Metric]
    settings: FitSettings
    steering: SteeringSettings


@dataclass(frozen=True)
class ModelSettings:
    """The `model` section."""

    path: str
    revision: str | None = None
    dtype: str | None = None
    device: str | None = None
    device_map: str | None = None

    @classmethod
    def of(cls, node: Any) -> ModelSettings:
        """From a configuration; paths that exist become absolute, so that artifacts can be used from anywhere."""
        given = {str(k): v for k, v in plain(node).items()}
        path = str(given.pop("path"))
        checked_arguments(cls, {"path": path, **given}, "model")
        if not is_own(path) and Path(path).expanduser().is_dir():
            path = str(Path(path).expanduser().resolve())
        device = given.pop("device", None)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else None
        return cls(path, device=device, **given)


def parts(cfg: Config) -> Parts:
    """All parts of a `train` configuration.

    Raises:
        DasError: a part refuses its settings.
    """
    where = sites(cfg.site, ModelSettings.of(cfg.model))
    tied = truth(cfg.site.get("tied", False), "site.tied")
    return Parts(
        make(cfg.task, "task"), where, tied, make(cfg.intervention, "intervention"), make(cfg.objective, "objective"),
        metrics(cfg.get("metric")), settings(cfg), make(cfg.steering, "steering"),
    )  # fmt: skip


def settings(cfg: Config) -> FitSettings:
    """Data, optimiser, trainer, controls, seed; no progress bar where nobody watches."""
    data, trainer = make(cfg.data, "data"), make(cfg.trainer, "trainer")
    if not watched():
        trainer = replace(trainer, progress=False)
    optimizer, controls = make(cfg.optimizer, "optimizer"), make(cfg.controls, "controls")
    return FitSettings(data, optimizer, trainer, controls, whole(cfg.seed, "seed"))


def make(node: Any, where: str) -> Any:
    """Instantiate one `_target_`, lists as tuples; `_partial_: true` leaves run-time arguments to the caller.

    Args:
        node: a section of the configuration.
        where: its key, for messages.

    Raises:
        ConfigError: it has no target, or settings that its target does not take.
    """
    if not OmegaConf.is_dict(node) or not node.get("_target_"):
        raise ConfigError(f"{where} does not say what to build", got=str(node), remedy="give its yaml a `_target_`")
    deferred = bool(node.get("_partial_", False))
    made = instantiate(node, _convert_="all", _partial_=True)
    given = {k: _frozen(v) for k, v in made.keywords.items()}
    arguments = checked_arguments(made.func, given, where, deferred)
    return partial(made.func, **arguments) if deferred else made.func(**arguments)


def sites(node: Config, chosen: ModelSettings) -> tuple[Site, ...]:
    """One site per combination of `layer` (a list, or "all"), `component` and `positions`, each of which may be a list.

    Raises:
        ConfigError: an empty list, or a layer that is no integer.
    """
    fields = {str(k): _frozen(v) for k, v in plain(node).items() if k != "tied"}
    if fields.get("layer") == "all":
        fields["layer"] = tuple(range(ModelView(meta(chosen)).n_layers))
    axes = {name: _listed(fields.pop(name, default), name) for name, default in _AXES.items()}
    axes["layer"] = [None if layer is None else whole(layer, "site.layer") for layer in axes["layer"]]
    found = [dict(zip(axes, values, strict=True)) | fields for values in product(*axes.values())]
    for one in found:
        checked_arguments(Site, one, "site")
    return tuple(Site(**one) for one in found)


def _listed(value: Any, name: str) -> list[Any]:
    listed = list(value) if isinstance(value, tuple) else [value]
    if not listed:
        raise ConfigError(f"site.{name} is an empty list", remedy="give at least one")
    return listed


def metrics(node: Config | None) -> Mapping[str, Metric]:
    """Reported name -> metric."""
    return {str(k): make(metric, f"metric.{k!s}") for k, metric in node.items()} if node else DEFAULT_METRICS


def judge(node: Config | None) -> Judge | ReadsModel | None:
    """Who judges generated text, if anybody."""
    return None if not node else cast(Judge | ReadsModel, make(node, "judge"))


def logger(cfg: Config) -> Any:
    """A Lightning logger, or False."""
    node = cfg.get("logger")
    return make(node, "logger") if node and node.get("_target_") else False


@lru_cache(maxsize=1)
def model(chosen: ModelSettings) -> nn.Module:
    """The frozen model with its weights; jobs of one process that follow each other share it."""
    given = (chosen.device, chosen.device_map)
    return load_model(chosen.path, revision=chosen.revision, dtype=chosen.dtype, device=given[0], device_map=given[1])


@cache
def meta(chosen: ModelSettings) -> nn.Module:
    """The model without weights."""
    return meta_model(chosen.path, revision=chosen.revision)


@cache
def tokenizer(chosen: ModelSettings) -> Any:
    """The model's tokenizer; an own model's is made anew, which is quicker than training the model for it."""
    if is_own(chosen.path):
        return recipe(chosen.path).tokenizer()
    return load_tokenizer(chosen.path, revision=chosen.revision)


def plain(node: Any) -> dict[str, Any]:
    """A resolved configuration as plain data."""
    found = (
        OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else dict(node)
    )
    assert isinstance(found, dict)
    return {str(k): v for k, v in found.items()}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
