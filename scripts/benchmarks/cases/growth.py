"""How the time of a step grows: flat in the number of pairs, linear in the layers above and in the tokens after a site.

Linear fits y = a + b x of medians; the notes have slope, intercept and R^2. `--report` draws them beside the table.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from scripts.benchmarks.harness import Result
from scripts.benchmarks.setting import LAYERS, TOKENS, AtPosition, Ours, llama, ours

BAR = "step time flat in pairs (last / first <= 1.2), linear in layers and tokens (R^2 >= 0.95)"
STEPS = 10
PAIRS, AT, POSITIONS = (64, 256, 1024), (0, 1, 2, 3, 4, 5, 6), (7, 15, 23, 31, 39, 47, 55, 63)


def run() -> Result:
    """Time three series; the ratio is of the step with the most pairs to that with the fewest."""
    model = llama()
    pairs = [_median(ours(model, AtPosition(TOKENS - 1, rows=n))) for n in PAIRS]
    above = [LAYERS - 1 - layer for layer in AT]
    layers = [_median(ours(model, AtPosition(TOKENS - 8), layer=layer)) for layer in AT]
    after = [TOKENS - position for position in POSITIONS]
    tokens = [_median(ours(model, AtPosition(position))) for position in POSITIONS]
    series = {"pairs": (PAIRS, pairs), "layers_above": (above, layers), "tokens_after": (after, tokens)}
    notes = {}
    for name, (x, y) in series.items():
        slope, intercept, r2 = fitted(x, y)
        notes |= {f"{name}_ms": [round(1e3 * t, 2) for t in y], f"{name}_x": list(x), f"{name}_slope_ms": 1e3 * slope,
                  f"{name}_intercept_ms": 1e3 * intercept, f"{name}_r2": r2}  # fmt: skip
    return Result(pairs[-1] / pairs[0], notes=notes)


def fitted(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Least squares: slope, intercept, R^2."""
    slope, intercept = statistics.linear_regression(x, y)
    left = sum((v - intercept - slope * u) ** 2 for u, v in zip(x, y, strict=True))
    return slope, intercept, 1 - left / max(sum((v - statistics.mean(y)) ** 2 for v in y), 1e-12)


def _median(side: Ours) -> float:
    seconds = []
    for i in range(STEPS + 2):
        began = time.perf_counter()
        side.step()
        if i >= 2:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
