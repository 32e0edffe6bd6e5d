"""Where the yaml files are."""

from __future__ import annotations

from pathlib import Path

import das
from das.errors import ConfigError


def conf_dir() -> Path:
    """The folder of yaml groups: `das/conf` in an installed wheel, the repository's live `conf/` otherwise.

    Raises:
        ConfigError: neither folder exists, so the installation is broken.
    """
    package = Path(das.__file__).resolve().parent
    candidates = (package / "conf", package.parent / "conf")
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise ConfigError(
        "das has lost its conf folder", got=f"none at {candidates[0]} or {candidates[1]}", remedy="reinstall das"
    )
