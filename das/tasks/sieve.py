"""Rows that cannot be used: an error that says where, or counted and left out. Torch-free."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from das.errors import EmptySplitError, InputError

T = TypeVar("T")
U = TypeVar("U")
log = logging.getLogger("das.tasks")

#: What the remedy for a row ends in, where its error may be avoided so.
WAY_OUT = ", or leave such rows out with data.strict=false"
#: Rows left out that are named one by one, and how.
EXAMPLES, EXAMPLE = 5, "left out: %s"


class Sieve:
    """Keeps what can be used; of the rest raises the first error, or counts it and goes on.

    Args:
        strict: raise.

    Attributes:
        dropped: kind of error -> rows left out because of it.
    """

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.dropped: Counter[str] = Counter()

    def sift(self, items: Iterable[T], make: Callable[[T], U], where: Callable[[T], str | None]) -> list[U]:
        """What `make` makes of each item.

        Raises:
            InputError: of `make`, naming the row; only if strict.
            EmptySplitError: nothing is left.
        """
        kept, errors = [], []
        for item in items:
            try:
                kept.append(make(item))
            except InputError as error:
                what, remedy = f"{where(item)}: {error.what}", error.remedy + (WAY_OUT if self.strict else "")
                errors.append(type(error)(what, got=error.got, remedy=remedy))
                if self.strict:
                    raise errors[0] from error
                self.dropped[reason(error)] += 1
        tell(log, errors)
        if not kept:
            raise nothing_left("the file", self.dropped)
        return kept


def tell(log: logging.Logger, errors: Sequence[InputError], each: int = 1) -> None:
    """Warn of what was left out, `each` rows per error: a few of them one by one, and of more than these the number."""
    for error in errors[:EXAMPLES]:
        remedy = error.remedy.removesuffix(WAY_OUT)
        log.warning(EXAMPLE, type(error)(error.what, got=error.got, remedy=remedy))
    if len(errors) > EXAMPLES:
        counts = {why: each * n for why, n in Counter(map(reason, errors)).items()}
        log.warning("left out: %d rows in all: %s", each * len(errors), _told(counts))


def reason(error: InputError) -> str:
    """The kind of an error, as it is counted: LabelError is "label"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()


def nothing_left(what: str, dropped: Mapping[str, int]) -> EmptySplitError:
    """The error for data of which every row was left out."""
    return EmptySplitError(
        f"no row of {what} can be used", got=_told(dropped), remedy="data.strict=true says what is wrong with the first"
    )


def _told(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{n} rows for their {why}" for why, n in sorted(dropped.items()))
