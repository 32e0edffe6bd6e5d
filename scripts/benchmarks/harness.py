"""Two sides of a benchmark in one process, alternately: times, FLOPs, peak memory, and their ratios."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

#: What loss and gradient may differ by, relative, before anything is timed.
TOLERANCE = 1e-4

Side = Callable[[], Any]


@dataclass(frozen=True)
class Result:
    """One benchmark.

    Attributes:
        ratio: peer / das, of wall time; median of paired ratios.
        iqr: interquartile range of the paired ratios, within this process.
        flop_ratio, memory_ratio: peer / das of FLOPs in matrix products; das / peer of peak memory above what was
            resident before the step, as what das keeps of the dataset is (`kept_mib` in the notes).
        grad_rel_err, loss_rel_err: of das against the peer, before timing.
        peer_ms, das_ms: medians.
        notes: whatever else was measured.
    """

    ratio: float
    iqr: tuple[float, float] | None = None
    flop_ratio: float | None = None
    memory_ratio: float | None = None
    grad_rel_err: float | None = None
    loss_rel_err: float | None = None
    peer_ms: float | None = None
    das_ms: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def compare(peer: Side, ours: Side, turns: int = 10, **known: Any) -> Result:
    """Time both sides in turns, then count FLOPs and peak memory of one step of each.

    In training a step follows a step of its own kind. So each side takes two steps in a turn and the second counts; the
    first, which finds in caches and allocator what the other side left there, is compared in the notes (`first_ratio`).
    """
    peer(), ours()
    first: tuple[list[float], list[float]] = ([], [])
    second: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for side, left, kept in zip((peer, ours), first, second, strict=True):
            left.append(_seconds(side))
            kept.append(_seconds(side))
    ratio, iqr = paired(*second)
    flops, memory = [flops_of(side) for side in (peer, ours)], [peak_of(side) for side in (peer, ours)]
    medians = [1e3 * statistics.median(kept) for kept in second]
    return Result(
        ratio, iqr, flops[0] / max(flops[1], 1), memory[1] / max(memory[0], 1), peer_ms=medians[0], das_ms=medians[1],
        notes={"first_ratio": paired(*first)[0]}, **known,
    )  # fmt: skip


def _seconds(side: Side) -> float:
    began = time.perf_counter()
    side()
    return time.perf_counter() - began


def paired(peer: Sequence[float], ours: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Median and interquartile range of the ratios of neighbouring times."""
    ratios = sorted(p / o for p, o in zip(peer, ours, strict=True))
    quarter = len(ratios) // 4
    return statistics.median(ratios), (ratios[quarter], ratios[-1 - quarter])


def flops_of(side: Side) -> int:
    """FLOPs of matrix products in one call; torch counts none for attention on a CPU."""
    with FlopCounterMode(display=False) as counter:
        side()
    return int(counter.get_total_flops())


def peak_of(side: Side) -> int:
    """Most resident memory of one call above what was resident before, bytes (Linux)."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    side()
    return max(_status("VmHWM") - before, 1)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise AssertionError(f"/proc/self/status has no {name}")


def same(loss: tuple[Tensor, Tensor], gradient: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Relative differences (peer's first), asserted to be small."""
    errors = {
        "loss_rel_err": float((loss[0] - loss[1]).abs() / loss[0].abs()),
        "grad_rel_err": float((gradient[0] - gradient[1]).norm() / gradient[0].norm()),
    }
    assert all(error <= TOLERANCE for error in errors.values()), errors  # NaN is not
    return errors


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {"cpu": names[0] if names else "unknown", "cores": len(names), "threads": torch.get_num_threads(),
            "torch": torch.__version__}  # fmt: skip
