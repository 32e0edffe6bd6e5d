"""The folder of kept activations: one file per key, at most so many bytes, what was not used longest removed first.

Torch-free, so that `das cache` is instant. What is in a file is up to `das.engine.mapped`; that two processes do not
make the same one is up to the lock of its key.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from filelock import FileLock, Timeout

from das.models.cache_root import cache_root

FOLDER = "kept"
_FILE, _PART, _LOCK = ".safetensors", ".part", ".lock"


@dataclass(frozen=True)
class Entry:
    """A file of kept activations.

    Attributes:
        path: the file, named after its key.
        size: bytes.
        used: when it was last used, in seconds since the epoch.
        about: what it was made from, for people; empty where the file cannot be read.
    """

    path: Path
    size: int
    used: float
    about: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Names everything that determines the content."""
        return self.path.stem


@final
class DiskCache:
    """Files of kept activations.

    Args:
        root: of the package's cache.
        limit: most bytes in all files together.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self.folder, self.limit = root / FOLDER, limit

    def file(self, key: str) -> Path:
        """Where a key's file is, or would be."""
        return self.folder / f"{key}{_FILE}"

    def may_have(self, start: str) -> bool:
        """Whether there is a file whose key starts like this."""
        return any(self.folder.glob(f"{start}*{_FILE}"))

    def lock(self, key: str) -> FileLock:
        """Held while a key's file is made."""
        return FileLock(self.folder / f"{key}{_LOCK}")

    def touch(self, key: str) -> None:
        """Say that a file was used now, where that may be said."""
        with suppress(OSError):
            os.utime(self.file(key))

    def discard(self, key: str) -> None:
        """Remove a file that cannot be used, where it may be removed."""
        with suppress(OSError):
            self.file(key).unlink()

    def entries(self) -> list[Entry]:
        """All files, those not used longest first."""
        found = []
        for path in self.folder.glob(f"*{_FILE}"):
            try:
                stat = path.stat()
                found.append(Entry(path, stat.st_size, stat.st_mtime, _about(path)))
            except FileNotFoundError:  # removed meanwhile
                continue
        return sorted(found, key=lambda entry: entry.used)

    def make_room(self, size: int) -> str | None:
        """Remove what was not used longest until `size` more bytes fit; why they never will, or None."""
        if size > self.limit:
            return f"over the disk cache's limit of {mib(self.limit)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.sweep()
            entries = self.entries()
            free = shutil.disk_usage(self.folder).free
            if size > free + sum(e.size for e in entries):
                return f"only {mib(free)} free on the disk"
            self._shrink(entries, min(self.limit - size, free + sum(e.size for e in entries) - size))
        except OSError as error:
            return f"no disk cache in {self.folder}: {error.strerror or error}"
        return None

    def prune(self, limit: int | None = None, older_than: float | None = None) -> list[Entry]:
        """Remove files and return them.

        Args:
            limit: bytes that may remain; None for all of them.
            older_than: seconds for which a file that is removed was not used; None for any.
        """
        self.sweep()
        entries = self.entries()
        if older_than is not None:
            entries = _removed([e for e in entries if time.time() - e.used > older_than])
            return entries if limit is None else entries + self._shrink(self.entries(), limit)
        return self._shrink(entries, 0 if limit is None else limit)

    def sweep(self) -> int:
        """Remove what killed writers left behind; bytes freed."""
        freed = 0
        for part in self.folder.glob(f"*{_PART}"):
            lock = self.folder / f"{part.name.split('.')[0]}{_LOCK}"
            try:
                with FileLock(lock, timeout=0):
                    size = part.stat().st_size
                    part.unlink()
                    lock.unlink(missing_ok=True)
                    freed += size
            except (Timeout, FileNotFoundError):  # somebody is writing it, or just finished
                continue
        return freed

    @staticmethod
    def _shrink(entries: Sequence[Entry], limit: int) -> list[Entry]:
        """Remove from the front until the rest is small enough."""
        left, going = sum(e.size for e in entries), []
        for entry in entries:
            if left <= limit:
                break
            going.append(entry)
            left -= entry.size
        return _removed(going)


def disk_cache(root: str | Path | None, gib: float) -> DiskCache | None:
    """The cache below a root (None for the package's own) that takes at most so many GiB; none where that is 0."""
    return DiskCache(cache_root(root), int(gib * (1 << 30))) if gib else None


def mib(size: int) -> str:
    """A size in MiB, rounded up."""
    return f"{-(-size // (1 << 20))} MiB"


def _removed(entries: Sequence[Entry]) -> list[Entry]:
    """Remove files; runs that have them mapped go on with them."""
    for entry in entries:
        entry.path.unlink(missing_ok=True)
        entry.path.with_suffix(_LOCK).unlink(missing_ok=True)
    return list(entries)


def _about(path: Path) -> Mapping[str, Any]:
    """The header's description, or nothing."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            return dict(json.loads(json.loads(file.read(min(size, 1 << 24)))["__metadata__"]["about"]))
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return {}
