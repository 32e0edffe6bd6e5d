"""The run folder is never overwritten: a finished run is refused, an interrupted one goes on if its settings are equal.

DIR/config.yaml     the resolved configuration, written at the start
DIR/metrics.json    written last: its presence means that the run is finished
DIR/subspace/       the artifact
DIR/checkpoints/    Lightning's
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from das.artifacts.describe import plain
from das.errors import InputError, RunExistsError

CONFIG, METRICS, SUBSPACE = "config.yaml", "metrics.json", "subspace"
_MISSING = "(absent)"
#: What does not change what is learned: single keys, and whole sections.
_IGNORED = frozenset({
    "run_dir", "name", "trainer.progress", "trainer.log_every", "trainer.checkpoint_every", "trainer.budget_gib",
    "trainer.tier", "trainer.cache_dir", "trainer.cache_gib",
})  # fmt: skip
_IGNORED_SECTIONS = ("steering", "logger")


def claim(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the folder holds an unfinished run of this very configuration; False for a fresh folder.

    Raises:
        RunExistsError: a finished run, one of another configuration, or a subspace without a run.
    """
    if (folder / METRICS).exists():
        use = f"`das eval subspace={shlex.quote(str(folder))}` and `das steer subspace=...` use it"
        raise RunExistsError("this folder holds a finished run", got=str(folder), remedy=f"give another run_dir; {use}")
    file = folder / CONFIG
    if not file.is_file():
        if (folder / SUBSPACE).exists():
            raise RunExistsError("this folder holds a subspace", got=str(folder), remedy="give another run_dir")
        return False
    before: Any = OmegaConf.to_container(OmegaConf.load(file))
    changed = differences(before, config)
    if changed:
        listed = ", ".join(f"{k} ({_short(a)} -> {_short(b)})" for k, (a, b) in list(changed.items())[:5])
        raise RunExistsError(
            "this folder holds an unfinished run with other settings", got=f"{folder}: {listed}",
            remedy="give another run_dir, or the settings it was started with",
        )  # fmt: skip
    return True


def finished(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metrics of a finished run of this very configuration, or None."""
    if not (folder / METRICS).is_file() or not (folder / CONFIG).is_file():
        return None
    before: Any = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
    found: dict[str, Any] = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    return None if differences(before, config) else found


def check_out(out: Any) -> None:
    """Raise `InputError` where a file of that name could not be written; None is no file."""
    if out is None:
        return
    path = Path(str(out)).expanduser()
    if path.is_dir():
        raise InputError(
            "out is a folder", got=str(out), remedy=f"give a file, e.g. out={shlex.quote(str(path / 'out.json'))}"
        )
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError("out cannot be written", got=str(out), remedy=f"{there} is no folder that can be written to")


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (before, after) of what differs, the folder itself apart."""
    old, new = (dict(_flat(config, str(config.get("run_dir", "")))) for config in (before, after))
    keys = [k for k in sorted({*old, *new}) if k not in _IGNORED and k.split(".")[0] not in _IGNORED_SECTIONS]
    found = {k: (old.get(k, _MISSING), new.get(k, _MISSING)) for k in keys}
    return {k: pair for k, pair in found.items() if pair[0] != pair[1]}


def write_json(path: Path, data: Any) -> None:
    """JSON with sorted keys, atomically; NaN becomes null."""
    write_text(path, json.dumps(plain(data), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """A file that is either complete or not there.

    Raises:
        InputError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError("the file cannot be written", got=str(path), remedy=error.strerror or "") from error


def remove_if_empty(folder: Path) -> None:
    """Leave no trace of a run that never started."""
    try:
        folder.rmdir()
    except OSError:
        return


def _flat(node: Any, run_dir: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, run_dir, f"{prefix}.{key}" if prefix else str(key))
    else:
        inside = isinstance(node, str) and run_dir and node.startswith(run_dir)
        yield prefix, "RUN" + node.removeprefix(run_dir) if inside else node


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
