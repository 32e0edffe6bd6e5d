"""`das cache ls` and `das cache prune`: activations of frozen runs that were kept on disk because memory was short."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from das.cli.terminal import console, say
from das.engine.disk import DiskCache, Entry
from das.errors import ConfigError, UnknownChoiceError
from das.models.cache_root import cache_root

ACTIONS = ("ls", "prune")
_SETTINGS = {"ls": ("cache_dir",), "prune": ("cache_dir", "older_than", "size")}
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"mib": 1 << 20, "gib": 1 << 30}


def command(args: Sequence[str]) -> int:
    """Entry point of `das cache`.

    Raises:
        UnknownChoiceError: neither `ls` nor `prune`, or a setting that it does not have.
        ConfigError: a setting without a value, or one that is no time or size.
    """
    action, *rest = args or ("ls",)
    if action not in ACTIONS:
        raise UnknownChoiceError("action of das cache", action, ACTIONS)
    given = _given(action, rest)
    cache = DiskCache(cache_root(given.get("cache_dir")), 0)
    if action == "ls":
        entries = cache.entries()
        if entries:
            console().print(_table(entries))
        say(console(), f"{len(entries)} kept, {_size(sum(e.size for e in entries))} in {cache.folder}")
        return 0
    older = given.get("older_than")
    size = given.get("size")
    left = None if size is None else int(_measured("size", size, _BYTES, "gib", "10GiB or 500MiB"))
    since = None if older is None else _measured("older_than", older, _SECONDS, "d", "7d, 12h or 2w")
    swept = cache.sweep()
    removed = cache.prune(left, since)
    freed = _size(sum(e.size for e in removed) + swept)
    unfinished = f", {_size(swept)} of it unfinished files" if swept else ""
    say(console(), f"removed {len(removed)} kept, freed {freed}{unfinished}; {len(cache.entries())} left")
    return 0


def _given(action: str, args: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE arguments."""
    found = {}
    for arg in args:
        key, _, value = arg.partition("=")
        if key not in _SETTINGS[action]:
            raise UnknownChoiceError(f"setting of das cache {action}", key, _SETTINGS[action])
        if not value:
            raise ConfigError(f"{key} has no value", got="nothing", remedy=f"give {key}=VALUE")
        found[key] = value
    return found


def _measured(key: str, text: str, units: dict[str, float] | dict[str, int], default: str, example: str) -> float:
    """A number with a unit."""
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)({'|'.join(units)})?", text.lower())
    if match is None:
        raise ConfigError(f"{key} is not understood", got=text, remedy=f"give for example {key}={example}")
    return float(match[1]) * units[match[2] or default]


def _table(entries: Sequence[Entry]) -> Table:
    made = Table()
    made.add_column("key", no_wrap=True)
    for name in ("model", "data"):
        made.add_column(name, overflow="fold")
    for name in ("rows", "tier", "size", "not used for"):
        made.add_column(name, justify="right", no_wrap=True)
    for entry in reversed(entries):
        about = [escape(str(entry.about.get(name, "?"))) for name in ("model", "data", "rows", "tier")]
        made.add_row(entry.key[:12], *about, _size(entry.size), _age(time.time() - entry.used))
    return made


def _size(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"


def _age(seconds: float) -> str:
    """In the largest unit of which there is one."""
    unit = next((u for u in ("d", "h") if seconds >= _SECONDS[u]), "m")
    return f"{max(0.0, seconds) / _SECONDS[unit]:.0f} {unit}"
