"""Percentile bootstrap: how far a statistic moves when rows are drawn anew, with replacement (Efron 1979).

Rows must be independent: give one value per entity or template where several rows share one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from das.errors import EmptySplitError, InputError


@dataclass(frozen=True)
class Interval:
    """A statistic of all rows, and the central interval of its resamples."""

    value: float
    low: float
    high: float


def bootstrap(
    rows: Float[Tensor, " *rows"],
    statistic: Callable[[Tensor], Tensor] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Confidence interval of a statistic of rows.

    Args:
        rows: one value per row, or several: a ratio of means takes (row, 2).
        statistic: (row, ...) -> scalar; the mean by default.
        level: share of the resamples inside.
        resamples, seed: how many, drawn from which stream.

    Raises:
        EmptySplitError: no rows.
        InputError: a level outside (0, 1), or less than one resample.
    """
    if not len(rows):
        raise EmptySplitError("there is no row to draw from", got=0)
    if not 0 < level < 1 or resamples < 1:
        raise InputError("level must lie inside (0, 1), and resamples be at least 1", got=(level, resamples))
    of = torch.mean if statistic is None else statistic
    values = rows.detach().double().cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randint(len(values), (len(values),), generator=generator) for _ in range(resamples))
    found = torch.stack([of(values[i]) for i in drawn])
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=found.dtype)
    low, high = found.quantile(tails).tolist()
    return Interval(float(of(values)), low, high)
