"""Rows that cannot be used: an error that says where, or counted and left out. Torch-free."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from das.errors import EmptySplitError, InputError

T = TypeVar("T")
U = TypeVar("U")
log = logging.getLogger("das.tasks")


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
        kept = []
        for item in items:
            try:
                kept.append(make(item))
            except InputError as error:
                remedy = f"{error.remedy}, or leave such rows out with data.strict=false"
                located = type(error)(f"{where(item)}: {error.what}", got=error.got, remedy=remedy)
                if self.strict:
                    raise located from error
                self.dropped[reason(error)] += 1
                log.warning("left out: %s", located)
        if not kept:
            raise nothing_left("the file", self.dropped)
        return kept


def reason(error: InputError) -> str:
    """The kind of an error, as it is counted: LabelError is "label"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()


def nothing_left(what: str, dropped: Mapping[str, int]) -> EmptySplitError:
    """The error for data of which every row was left out."""
    told = ", ".join(f"{n} rows for their {why}" for why, n in sorted(dropped.items()))
    return EmptySplitError(
        f"no row of {what} can be used", got=told, remedy="data.strict=true says what is wrong with the first"
    )
