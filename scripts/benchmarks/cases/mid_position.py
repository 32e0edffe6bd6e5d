"""Position 40 of 64 in the middle layer against pyvene's low-rank rotation."""

from __future__ import annotations

from scripts.benchmarks.cases.last_token import at
from scripts.benchmarks.harness import Result

BAR = ">= 8"


def run() -> Result:
    """Assert equality, time."""
    return at(40)
