"""pyvene and pyreft at the versions of `peers.txt`; where they are absent, every test that imports this is skipped."""

from __future__ import annotations

import importlib
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

LIST = Path(__file__).with_name("peers.txt")
PINS = dict(line.split("==") for line in LIST.read_text().splitlines() if not line.startswith("#"))


def _peer(name: str) -> Any:
    try:
        found = version(name)
    except PackageNotFoundError:
        found = "none"
    if found != PINS[name]:
        remedy = f"pip install --no-deps -r tests/parity/{LIST.name}"
        pytest.skip(f"compares with {name} {PINS[name]}, installed is {found}: {remedy}", allow_module_level=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


pv, reft = _peer("pyvene"), _peer("pyreft")
