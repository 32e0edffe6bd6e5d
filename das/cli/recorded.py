"""What a run writes into its artifact about itself, and how a later command reads its defaults from there.

Everything recorded is data. A task is recorded by the name of its yaml and its arguments; arguments that could name
something to run are refused when read back.
"""

from __future__ import annotations

import platform
import shlex
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import das
from das.artifacts.subspace import Subspace
from das.cli.build import ModelSettings, make
from das.cli.config import Config
from das.cli.help import choices
from das.cli.hydra_app import choices as chosen_groups
from das.cli.hydra_app import overrides, typed
from das.cli.imports import import_all
from das.cli.paths import conf_dir
from das.cli.run_folder import CONFIG, SUBSPACE
from das.errors import ArtifactError, ConfigError, ModelError, UnknownChoiceError
from das.models.resolve import is_own
from das.tasks.base import Task

_LIBRARIES = ("torch", "transformers", "pytorch-lightning")


def notes(cfg: Config, model: ModelSettings) -> dict[str, Any]:
    """For the artifact's "training" section: command, code, versions, choices."""
    groups = chosen_groups()
    arguments = OmegaConf.to_container(cfg.task, resolve=True)
    assert isinstance(arguments, dict)
    task = {"name": groups.get("task"), "arguments": {k: v for k, v in arguments.items() if not str(k).startswith("_")}}
    return {
        "command": command(),
        "overrides": overrides(),
        "choices": groups,
        "model": {"path": model.path, "revision": model.revision, "dtype": model.dtype},
        "task_settings": task,
        "metric_names": [str(name) for name in (cfg.get("metric") or {})],
        "git_commit": commit(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of this package, of Python and of the libraries that numbers depend on."""
    return {"das": das.__version__, "python": platform.python_version(), **{n: version(n) for n in _LIBRARIES}}


def command() -> str:
    """The command line as it was typed."""
    return shlex.join(["das", *typed()])


def load_subspace(cfg: Config) -> tuple[Subspace, Path]:
    """The artifact of a run folder or of its `subspace` folder, after the modules that it needs are imported.

    Raises:
        ConfigError: such a module cannot be imported.
        ArtifactError: there is none, perhaps because the run is not finished.
    """
    import_all(list(cfg.imports) if OmegaConf.is_list(cfg.imports) else cfg.imports)
    where = str(cfg.subspace)
    path = Path(where).expanduser()
    inner = path / SUBSPACE
    if (path / CONFIG).is_file() and not inner.is_dir():
        remedy = f"give its `das train` command again, with run_dir={shlex.quote(where)}: it goes on from there"
        raise ArtifactError("this run is not finished, so it has no subspace yet", got=where, remedy=remedy)
    path = inner if inner.is_dir() else path
    return Subspace.load(path), path


def recorded_model(subspace: Subspace, node: Any) -> ModelSettings:
    """The model of a command line, what it leaves out taken from the artifact."""
    given = {str(k): v for k, v in (OmegaConf.to_container(node, resolve=True) if node is not None else {}).items()}  # type: ignore[union-attr]
    given = {k: v for k, v in given.items() if v is not None and v != "???"}
    if "path" not in given:
        known = dict(subspace.training.get("model") or {})
        recorded = {k: v for k, v in known.items() if v}
        defaults = {"path": subspace.model.name_or_path, "revision": subspace.model.revision, **recorded}
        given = {**defaults, **given}
    if not given.get("path"):
        raise ModelError("no model was named", remedy="give model=tiny, or model=hf model.path=FOLDER_OR_HUB_ID")
    if is_own(given["path"]):
        given.pop("revision", None)
    return ModelSettings.of(given)


def recorded_task(subspace: Subspace, node: Config | None) -> Task:
    """The task of a command line, or the one the subspace was trained on.

    Raises:
        ConfigError: neither is known.
        ArtifactError: the recorded settings are not data.
    """
    if node is not None:
        return make(node, "task")
    known = subspace.training.get("task_settings") or {}
    name = known.get("name") or subspace.task
    if name is None:
        raise ConfigError("the artifact names no task", remedy=f"give task=..., one of: {', '.join(choices('task'))}")
    if name not in choices("task"):
        raise UnknownChoiceError("task", str(name), choices("task"), "The artifact records it; give another with task=")
    arguments = known.get("arguments") or {}
    _refuse_code(arguments)
    loaded = OmegaConf.load(conf_dir() / "task" / f"{name}.yaml")
    assert isinstance(loaded, DictConfig)
    for key, value in arguments.items():
        loaded[key] = value
    return make(loaded, "task")


def recorded_metrics(subspace: Subspace) -> Config:
    """The metrics the subspace was measured with in training."""
    names = [n for n in subspace.training.get("metric_names") or () if n in choices("metric")]
    found = [OmegaConf.load(conf_dir() / "metric" / f"{n}.yaml") for n in names or ("iia", "iia_full_vocab")]
    merged = OmegaConf.merge(*found)
    assert isinstance(merged, DictConfig)
    return merged


def _refuse_code(node: Any) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if str(key).startswith("_"):
                raise ArtifactError("the artifact's task settings hold something else than data", got=str(key))
            _refuse_code(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _refuse_code(value)
    elif isinstance(node, str) and "${" in node:
        raise ArtifactError("the artifact's task settings hold an interpolation", got=node)


def commit() -> str | None:
    """The commit of the code, where it runs from a repository."""
    root = Path(das.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        asked = ["git", "-C", str(root), "rev-parse", "HEAD"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
