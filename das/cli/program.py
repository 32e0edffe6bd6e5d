"""How to call a program of this environment from where the user is."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program(name: str = "das", module: str = "das.cli.main") -> str:
    """A program where the shell finds it, else the executable beside this Python, seen from here where it lies below.

    Args:
        name: of the program.
        module: which runs as the same program, where there is no executable.
    """
    if shutil.which(name):
        return name
    beside = Path(sys.executable).parent / name
    if not beside.is_file():
        return f"{shlex.quote(sys.executable)} -m {module}"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))
