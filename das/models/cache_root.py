"""Where the package keeps what it can make again: its own small models, and activations of frozen runs.

The environment variable DAS_CACHE sets it; otherwise it is the user's cache directory.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "DAS_CACHE"


def cache_root(given: str | Path | None = None) -> Path:
    """Root of the cache; None means $DAS_CACHE, or else the user's cache directory."""
    if given is not None:
        return Path(given).expanduser()
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("das")).expanduser()
