"""A last-token site in the middle layer against pyvene's low-rank rotation.

The ratio is of steps; recording what they need is in the notes, in seconds and in epochs until it is repaid."""

from __future__ import annotations

from torch import nn

from scripts.benchmarks.harness import Result, compare, same
from scripts.benchmarks.setting import (
    BATCH,
    LAYER,
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
    result.notes.update(
        cache_seconds=round(built, 3),
        epochs_to_repay=round(built / epoch, 3),
        steps_per_epoch=len(data) // BATCH,
        kept_mib=mine.prepared.nbytes >> 20,
        **_floors(model, result),
    )
    return result


def _floors(model: nn.Module, result: Result) -> dict[str, float]:
    """What a step cannot be faster than: its FLOPs at the peer's rate, and reading twice the weights it uses."""
    assert result.peer_ms is not None and result.flop_ratio is not None
    used = [*model.model.layers[LAYER + 1 :].parameters(), *model.lm_head.parameters()]
    seconds = [timed(lambda: [w.sum() for w in (*used, *used)])[0] for _ in range(10)]
    return {"flop_floor_ms": result.peer_ms / result.flop_ratio, "weights_read_twice_ms": 1e3 * min(seconds)}
