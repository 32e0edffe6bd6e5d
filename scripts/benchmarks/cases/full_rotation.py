"""pyvene's full width x width rotation, of which `RANK` coordinates are exchanged, against ours of that rank."""

from __future__ import annotations

from typing import Any

from scripts.benchmarks.harness import Result, compare, same
from scripts.benchmarks.setting import RANK, TOKENS, WIDTH, AtPosition, Pyvene, llama, ours, rotation_gradients

BAR = ">= 80"


def run() -> Result:
    """Assert equality, time."""
    model, data = llama(), AtPosition(TOKENS - 1)
    mine = ours(model, data)
    theirs = Pyvene(model, _full(), mine.batch)
    errors = same(**rotation_gradients(theirs, mine))
    return compare(theirs.step, mine.step, **errors)


def _full() -> Any:
    import pyvene as pv

    made = pv.RotatedSpaceIntervention(embed_dim=WIDTH)
    made.set_interchange_dim(RANK)
    return made
