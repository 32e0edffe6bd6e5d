"""What a user may give as model name, dtype and device, resolved before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import torch

from das.errors import ModelError, UnknownChoiceError
from das.models.recipes.base import names

_DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
    "float64": torch.float64,
    "fp64": torch.float64,
}


def is_own(name_or_path: str | Path) -> bool:
    """Whether this names one of the package's own models; a directory called tiny is "./tiny"."""
    return str(name_or_path) in names()


def locate(name_or_path: str | Path, needs: str | None = "config.json") -> str:
    """A directory that exists and holds the file `needs` (of an own model: its cache), or else a hub id.

    A leading ".", "/" or "~", or more than one slash, marks a path. Raises ModelError for one that does not exist.
    """
    name = str(name_or_path)
    if is_own(name):
        from das.models.cache import model_dir

        return str(model_dir(name))
    path = Path(name).expanduser()
    if name and path.is_dir():
        if needs and not (path / needs).is_file():
            raise ModelError(f"this directory holds no {needs}", got=name, remedy="give the folder of a saved model")
        return str(path)
    if name and path.exists():
        raise ModelError("this is a file, not a model directory", got=name, remedy="give the folder that holds it")
    if isinstance(name_or_path, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise ModelError("there is no such directory", got=repr(name), remedy="give a directory, a hub id, or 'tiny'")
    return name


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype | str:
    """A torch dtype, or "auto" for the checkpoint's own. Raises UnknownChoiceError."""
    if dtype is None or dtype == "auto" or isinstance(dtype, torch.dtype):
        return dtype or "auto"
    name = dtype.removeprefix("torch.")
    if name not in _DTYPES:
        raise UnknownChoiceError("dtype", dtype, ("auto", *_DTYPES))
    return _DTYPES[name]


def parse_device(device: str | torch.device) -> torch.device:
    """A device that tensors can be put on. Raises ModelError where there is none."""
    remedy = "use 'cpu', or install a torch build that supports this device"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError("this device is not available", got=str(device), remedy=remedy) from error
    return chosen


def first_line(error: Exception) -> str:
    """The first line of an error's message as a sentence, or its type's name."""
    lines = str(error).strip().splitlines()
    return f"{(lines[0] if lines else type(error).__name__).rstrip('.')}."
