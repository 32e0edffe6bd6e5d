"""Files of an artifact: JSON and safetensors, each with its hash, written atomically and verified when read.

No code is run and no pickle is read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from das.artifacts.card import card
from das.errors import ArtifactError

FORMAT_VERSION = 1
CONFIG, TENSORS = "das_config.json", "interventions.safetensors"


def write(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Write one artifact into a new folder; returns its hash."""
    path.mkdir(parents=True, exist_ok=True)
    blob = save_tensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    full = {"format_version": FORMAT_VERSION, **config, "tensors_sha256": hashlib.sha256(blob).hexdigest()}
    full["config_sha256"] = config_hash(full)
    (path / TENSORS).write_bytes(blob)
    (path / CONFIG).write_text(json.dumps(full, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    (path / "README.md").write_text(card(full), encoding="utf-8")
    return str(full["config_sha256"])


def replace_folder(path: Path, overwrite: bool, fill: Callable[[Path], Any]) -> None:
    """Fill a fresh folder and move it to `path`: a crash leaves the old artifact there, or beside it as PATH.old.

    Raises:
        ArtifactError: `path` holds something, and it may not be overwritten or is no artifact.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        if not overwrite:
            raise ArtifactError("the folder is not empty", got=str(path), remedy="give another, or overwrite=True")
        if not (path / CONFIG).is_file():
            raise ArtifactError("the folder holds something else than a subspace", got=str(path))
    fresh, old = path.with_name(path.name + ".partial"), path.with_name(path.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    fill(fresh)
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def artifact_folder(path: Path) -> Path:
    """The folder itself, or RUN/subspace where it is the folder of a run."""
    inner = path / "subspace"
    return inner if not (path / CONFIG).is_file() and (inner / CONFIG).is_file() else path


def read(path: Path, allow_tampered: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of one artifact.

    Raises:
        ArtifactError: nothing there, unknown format, or changed since it was saved.
    """
    if not (path / CONFIG).is_file() or not (path / TENSORS).is_file():
        raise ArtifactError(
            "no subspace here", got=str(path),
            remedy=f"give the folder of a finished run, or one with {CONFIG} and {TENSORS}",
        )  # fmt: skip
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or nested without end
        raise ArtifactError(f"{CONFIG} is not valid JSON", got=str(error)) from error
    if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION:
        got = config.get("format_version") if isinstance(config, dict) else config
        raise ArtifactError(
            "unknown artifact format", got=f"version {got!r}", remedy=f"this das reads {FORMAT_VERSION}"
        )
    blob = (path / TENSORS).read_bytes()
    recorded = (config.get("tensors_sha256"), config.get("config_sha256"))
    if not allow_tampered and recorded != (hashlib.sha256(blob).hexdigest(), config_hash(config)):
        raise ArtifactError(
            "the artifact was changed after it was saved", got=str(path),
            remedy="get an intact copy, or pass allow_tampered=True if the change was yours",
        )  # fmt: skip
    try:
        return config, load_tensors(blob)
    except Exception as error:  # safetensors raises its own, undocumented exception types
        raise ArtifactError(f"{TENSORS} cannot be read", got=str(error)) from error


def controls_of(path: Path, config: Mapping[str, Any], allow_tampered: bool) -> dict[str, Path]:
    """Name -> folder of every control that was saved with an artifact.

    Raises:
        ArtifactError: a control is missing, or is not the one that was saved here under its name.
    """
    recorded = config.get("controls")
    if not isinstance(recorded, dict) or not all(str(name).isidentifier() for name in recorded):
        raise ArtifactError("the artifact does not say which controls it has", got=str(recorded)[:200])
    folders = {name: path / "controls" / name for name in recorded}
    for name, folder in folders.items():
        found, _ = read(folder, allow_tampered)
        if found["config_sha256"] != recorded[name] and not allow_tampered:
            raise ArtifactError(
                f"control {name!r} is not the one that was saved with this artifact", got=str(folder),
                remedy="get an intact copy, or pass allow_tampered=True if the change was yours",
            )  # fmt: skip
    return folders


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash of a configuration's content, formatting apart."""
    body = {k: v for k, v in config.items() if k != "config_sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
