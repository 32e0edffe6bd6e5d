"""pyvene's full width x width rotation, of which `RANK` coordinates are exchanged, against ours of that rank."""

from __future__ import annotations

from typing import Any

from scripts.benchmarks.harness import Result, compare, same
from scripts.benchmarks.setting import RANK, TOKENS, WIDTH, AtPosition, Pyvene, llama, ours, rotation_gradients, timed

BAR = ">= 80"


def run() -> Result:
    """Assert equality, time."""
    model, data = llama(), AtPosition(TOKENS - 1)
    built, mine = timed(lambda: ours(model, data))
    theirs = Pyvene(model, _full(), mine.batch)
    errors = same(**rotation_gradients(theirs, mine))
    result = compare(theirs.step, mine.step, **errors)
    result.notes.update(cache_seconds=round(built, 3), kept_mib=mine.prepared.nbytes >> 20)
    return result


def _full() -> Any:
    import pyvene as pv

    made = pv.RotatedSpaceIntervention(embed_dim=WIDTH)
    made.set_interchange_dim(RANK)
    return made
