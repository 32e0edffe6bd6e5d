"""How the time of a step grows: flat in the number of pairs, linear in the layers above and in the tokens after a site.

Linear fits y = a + b x of medians; the notes have slope, intercept and R^2. `--report` draws them beside the table.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import nn

from scripts.benchmarks.harness import Result
from scripts.benchmarks.setting import BATCH, LAYER, LAYERS, TOKENS, AtPosition, llama, ours, timed

BAR = "step time flat in pairs (last / first <= 1.2), linear in layers and tokens (R^2 >= 0.95)"
ROUNDS = 9
PAIRS, AT, POSITIONS = (64, 256, 1024), (0, 1, 2, 3, 4, 5, 6), (7, 15, 23, 31, 39, 47, 55, 63)
SERIES = {
    "pairs": "pairs in the dataset",
    "layers_above": "blocks above the site",
    "tokens_after": "tokens from the site on",
}


def run() -> Result:
    """Time three series; the ratio is of the step with the most pairs to that with the fewest."""
    model = llama()
    pairs = _medians(model, [(LAYER, AtPosition(TOKENS - 1, rows=n)) for n in PAIRS])
    above = [LAYERS - 1 - layer for layer in AT]
    layers = _medians(model, [(layer, AtPosition(TOKENS - 8)) for layer in AT])
    after = [TOKENS - position for position in POSITIONS]
    tokens = _medians(model, [(LAYER, AtPosition(position)) for position in POSITIONS])
    series = {"pairs": (PAIRS, pairs), "layers_above": (above, layers), "tokens_after": (after, tokens)}
    notes = {}
    for name, (x, y) in series.items():
        slope, intercept, r2 = fitted(x, y)
        notes |= {f"{name}_ms": [round(1e3 * t, 2) for t in y], f"{name}_x": list(x), f"{name}_slope_ms": 1e3 * slope,
                  f"{name}_intercept_ms": 1e3 * intercept, f"{name}_r2": r2}  # fmt: skip
    return Result(pairs[-1] / pairs[0], notes=notes)


def draw(notes: Mapping[str, Any], file: Path) -> None:
    """The three series and the lines fitted to them."""
    figure, axes = plt.subplots(1, len(SERIES), figsize=(4 * len(SERIES), 3), layout="constrained")
    for axis, (name, label) in zip(axes, SERIES.items(), strict=True):
        x, y = notes[f"{name}_x"], notes[f"{name}_ms"]
        slope, intercept = notes[f"{name}_slope_ms"], notes[f"{name}_intercept_ms"]
        axis.plot(x, y, "o")
        axis.plot(x, [intercept + slope * v for v in x])
        told = f"{intercept:.3g} {slope:+.2g} x, R² {notes[f'{name}_r2']:.3f}"
        axis.set(xlabel=label, ylabel="ms per step", ylim=(0, 1.15 * max(y)), title=told)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def fitted(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Least squares: slope, intercept, R^2."""
    slope, intercept = statistics.linear_regression(x, y)
    left = sum((v - intercept - slope * u) ** 2 for u, v in zip(x, y, strict=True))
    return slope, intercept, 1 - left / max(sum((v - statistics.mean(y)) ** 2 for v in y), 1e-12)


def _medians(model: nn.Module, settings: Sequence[tuple[int, AtPosition]]) -> list[float]:
    """Seconds per step of each, on rows drawn anew, in turns: what the machine does besides falls on all alike."""
    sides = [ours(model, data, layer=layer) for layer, data in settings]
    times: list[list[float]] = [[] for _ in sides]
    for turn in range(ROUNDS):
        draw = torch.Generator().manual_seed(turn)
        for side, (_, data), kept in zip(sides, settings, times, strict=True):
            rows = torch.randperm(len(data), generator=draw)[:BATCH].tolist()
            fresh = replace(side, batch=data.collate(rows))
            side.step()  # finds in the caches what the side before left
            kept.append(timed(fresh.step)[0])
    return [statistics.median(kept) for kept in times]
