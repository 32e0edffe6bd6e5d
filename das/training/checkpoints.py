"""Lightning's checkpoints in a run folder: which one a run goes on from, and which are of no use any more."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

log = logging.getLogger("das.training")

FOLDER = "checkpoints"


def newest_checkpoint(run_dir: Path | None) -> Path | None:
    """The checkpoint to resume from, if there is one; files that were cut short are passed over, and said to be."""
    for file in reversed(_by_age(run_dir)):
        if zipfile.is_zipfile(file):
            return file
        log.warning("checkpoint %s is damaged and passed over", file)
    return None


def keep_newest(run_dir: Path | None) -> None:
    """Delete all checkpoints but the newest: a run that was resumed leaves those of its first part behind."""
    for stale in _by_age(run_dir)[:-1]:
        stale.unlink(missing_ok=True)


def _by_age(run_dir: Path | None) -> list[Path]:
    if run_dir is None:
        return []
    return sorted((run_dir / FOLDER).glob("*.ckpt"), key=lambda p: p.stat().st_mtime)
