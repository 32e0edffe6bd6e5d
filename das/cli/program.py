"""How to call this program from where the user is."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """`das` where the shell finds it, else the executable beside this Python, relative to here where it lies below."""
    if shutil.which("das"):
        return "das"
    beside = Path(sys.executable).parent / "das"
    if not beside.is_file():
        return f"{shlex.quote(sys.executable)} -m das.cli.main"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))
