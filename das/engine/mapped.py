"""Kept tensors in a safetensors file that is filled and read through memory maps: it is never in memory as a whole."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
#: Name of a tensor -> its dtype and shape.
Blank = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]


def write(path: Path, blank: Blank, metadata: Mapping[str, str], fill: Callable[[Mapping[str, Tensor]], None]) -> None:
    """Make a file that is either complete or not there: filled under another name, then renamed.

    Args:
        path: the file; what a killed writer leaves behind is called PATH's stem, a dot, something, ".part".
        blank: what is in it, zeros at first.
        metadata: the header's.
        fill: writes into the mapped tensors.

    Raises:
        OSError: it cannot be written, or there is no room for it.
    """
    header, spans, size = _layout(blank, metadata)
    handle, name = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with open(handle, "wb") as file:
            file.write(header)
            _reserve(file, len(header) + size)
        mapped = np.memmap(part, np.uint8, "r+", len(header), (size,))
        flat = torch.from_numpy(mapped)
        fill({n: flat[slice(*spans[n])].view(dtype).view(shape) for n, (dtype, shape) in blank.items()})
        mapped.flush()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors mapped from a file, with its metadata; None where there is none, or one that was cut short.

    Only the pages that are used are read. The file may be removed meanwhile.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    except (SafetensorError, OSError):
        return None


def _layout(blank: Blank, metadata: Mapping[str, str]) -> tuple[bytes, dict[str, tuple[int, int]], int]:
    """Header, where each tensor's bytes are after it, and their number; the widest dtypes first, so all are aligned."""
    described: dict[str, object] = {"__metadata__": dict(metadata)}
    spans, size = dict[str, tuple[int, int]](), 0
    for name, (dtype, shape) in sorted(blank.items(), key=lambda item: -item[1][0].itemsize):
        spans[name] = (size, size := size + torch.Size(shape).numel() * dtype.itemsize)
        described[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": list(spans[name])}
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, spans, size


def _reserve(file: BinaryIO, size: int) -> None:
    """Take the room now: a full disk found out while writing to a map would kill the process."""
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
