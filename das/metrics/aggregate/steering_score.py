"""The steering score of AxBench (arXiv 2501.17148) and its factor selection.

    score    3 / (1/concept + 1/instruct + 1/fluency), each in [0, 2]; 0 if any of them is 0
    factor   the first half of the instructions picks the factor of the largest mean score; the second half reports it

Suppression scores 2 - concept instead of concept. A factor chosen on the instructions that report it scores too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from das.errors import EmptySplitError, InputError

#: The largest score of a judge.
HIGHEST = 2.0


@dataclass(frozen=True)
class Selected:
    """The factor that the first half chose.

    Attributes:
        factor: which.
        score: its mean over the second half; what is reported.
        chosen_by: its mean over the first half.
    """

    factor: float
    score: float
    chosen_by: float


def steering_score(concept: float | int, instruct: float | int, fluency: float | int) -> float:
    """Harmonic mean of the three, 0 if any is 0.

    Raises:
        InputError: a score outside [0, 2].
    """
    scores = (concept, instruct, fluency)
    if not all(0 <= score <= HIGHEST for score in scores):
        raise InputError("judges' scores lie between 0 and 2", got=scores)
    return 0.0 if 0 in scores else len(scores) / sum(1 / score for score in scores)


def select_factor(scores: Mapping[float, Sequence[float | int]]) -> Selected:
    """Choose on the first half of the instructions, report on the second.

    Args:
        scores: factor -> a score per instruction, in the same order; of equally good factors the first one is taken.

    Raises:
        EmptySplitError: no factors, or fewer than two instructions.
        InputError: factors with different numbers of instructions.
    """
    counts = {len(row) for row in scores.values()}
    if len(counts) > 1:
        raise InputError("factors were not tried on the same instructions", got=sorted(counts))
    n = max(counts, default=0)
    if n < 2:
        raise EmptySplitError("choosing and reporting need an instruction each", got=n)
    first = {factor: sum(row[: n // 2]) / (n // 2) for factor, row in scores.items()}
    chosen = max(first, key=lambda factor: first[factor])
    rest = scores[chosen][n // 2 :]
    return Selected(chosen, sum(rest) / len(rest), first[chosen])
