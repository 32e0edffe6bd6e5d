"""Ctrl-C, and how to go on afterwards."""

from __future__ import annotations

import shlex
from pathlib import Path


class Interrupted(KeyboardInterrupt):
    """A run was interrupted after its folder was begun.

    Args:
        folder: the `run_dir` with which the same command goes on; of all jobs in a multirun.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(str(folder))


def told(error: KeyboardInterrupt) -> str:
    """One line for the terminal."""
    if not isinstance(error, Interrupted):
        return "Interrupted."
    given = shlex.quote(f"run_dir={error.folder}")
    return f"Interrupted. The same command with {given} goes on from the last checkpoint."
