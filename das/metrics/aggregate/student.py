"""The mean of a few numbers with Student's interval; a bootstrap of three or five is far too narrow.

Equation   mean ± t(n - 1) s / sqrt(n), t the 97.5 % quantile, s the standard deviation over n - 1
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from das.errors import EmptySplitError

#: 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond, that of the normal distribution.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.960


def student(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and half the width of its 95 % interval; None for a single number, which has none.

    Raises:
        EmptySplitError: no numbers.
    """
    if not values:
        raise EmptySplitError("a mean needs at least one number", got=0)
    n = len(values)
    if n == 1:
        return values[0], None
    t = _T[n - 2] if n - 2 < len(_T) else _NORMAL
    return statistics.fmean(values), t * statistics.stdev(values) / n**0.5
