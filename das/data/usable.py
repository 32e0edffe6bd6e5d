"""Which examples can be rows of a dataset, where those that cannot are to be left out rather than to be an error."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from das.data.encode import Encoder
from das.data.examples import ROW_ERRORS, Encoded, Example, labels_of
from das.data.placing import Where, placed
from das.data.rows import columns, encode_examples
from das.errors import InputError
from das.tasks.sieve import nothing_left, reason, tell

log = logging.getLogger("das.data")
T = TypeVar("T")
Labels = tuple[str, ...] | None


class Usable(NamedTuple):
    """Examples that can be rows, the labels these have in common, and kind of error -> examples left out."""

    examples: list[Example]
    labels: Labels
    dropped: Mapping[str, int]


def usable(examples: Sequence[Example], encoder: Encoder, sites: Sequence[Where], labels: Labels, group: int) -> Usable:
    """Leave out every group of examples of which one cannot be a row.

    A label that only rows which are left out have, and that is no single token, leaves the label set with them.

    Raises:
        EmptySplitError: nothing is left.
        InputError: what is wrong with all examples, such as sources that are not there.
    """
    dropped: Counter[str] = Counter()
    kept = list(examples)
    if labels is not None:
        kept = _sifted(kept, encoder, sites, labels, group, dropped, own=True)
        used = {label for e in kept for label in labels_of(e.pair)}
        labels = tuple(one for one in labels if one in used or _fits(kept, encoder, one))
    kept = _sifted(kept, encoder, sites, labels, group, dropped)
    return Usable(kept, labels, dict(dropped))


def placeable(encoded: Sequence[Encoded], sites: Sequence[Where], group: int, dropped: Counter[str]) -> list[Encoded]:
    """The groups all of whose rows have these positions; what is left out is counted in `dropped`.

    Raises:
        EmptySplitError: nothing is left.
    """

    def place(e: Encoded) -> None:
        for number, where in enumerate(sites):
            placed([e], number, where)

    return _groups(encoded, group, place, dropped)


def _sifted(
    examples: Sequence[Example], encoder: Encoder, sites: Sequence[Where], labels: Labels, group: int,
    dropped: Counter[str], own: bool = False,
) -> list[Example]:  # fmt: skip
    """The groups all of whose rows can be encoded; `own` looks at each row's own labels instead of all."""

    def encode(e: Example) -> None:
        asked = tuple(sorted({*labels_of(e.pair)} & {*(labels or ())})) if own else labels
        columns(encode_examples([e], encoder, asked), sites, asked)

    return _groups(examples, group, encode, dropped)


def _groups(rows_of: Sequence[T], group: int, attempt: Callable[[T], None], dropped: Counter[str]) -> list[T]:
    """The groups of whose rows none makes `attempt` fail."""
    kept: list[T] = []
    errors = []
    for start in range(0, len(rows_of), group):
        rows = rows_of[start : start + group]
        for number, row in enumerate(rows, start):
            if (error := _failure(attempt, row)) is not None:
                dropped[reason(error)] += group
                what = re.sub(r"^row 0\b", f"row {number}", error.what)  # it was tried alone
                errors.append(type(error)(what, got=error.got, remedy=error.remedy))
                break
        else:
            kept += rows
    tell(log, errors, group)
    if not kept:
        raise nothing_left("this split", dropped)
    return kept


def _failure(attempt: Callable[[T], None], row: T) -> InputError | None:
    try:
        attempt(row)
    except ROW_ERRORS as error:
        return error
    return None


def _fits(examples: Sequence[Example], encoder: Encoder, label: str) -> bool:
    """Whether a label is a single token after every base."""
    try:
        encode_examples(examples, encoder, (label,))
    except InputError:
        return False
    return True
