"""A last-token site in the middle layer against pyvene's low-rank rotation, cache building counted in steps."""

from __future__ import annotations

from scripts.benchmarks.harness import Result, compare, same
from scripts.benchmarks.setting import (
    BATCH,
    TOKENS,
    AtPosition,
    Pyvene,
    llama,
    low_rank,
    ours,
    rotation_gradients,
    timed,
)

BAR = ">= 60"


def run() -> Result:
    """Assert equality, time."""
    return at(TOKENS - 1)


def at(position: int) -> Result:
    """The site at one position."""
    model, data = llama(), AtPosition(position)
    built, mine = timed(lambda: ours(model, data))
    theirs = Pyvene(model, low_rank(), mine.batch)
    errors = same(**rotation_gradients(theirs, mine))
    result = compare(theirs.step, mine.step, **errors)
    assert result.peer_ms is not None and result.das_ms is not None
    epoch = len(data) / BATCH * (result.peer_ms - result.das_ms) / 1e3
    result.notes.update(cache_seconds=round(built, 3), epochs_to_repay=round(built / epoch, 3))
    return result
