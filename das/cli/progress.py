"""Progress for those who see no progress bar: what the loggers of das say, as plain lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from das.tasks.sieve import EXAMPLE, EXAMPLES


def watched() -> bool:
    """Whether somebody looks at a terminal."""
    return sys.stdout.isatty()


class _Few(logging.Filter):
    """Of rows left out, which each dataset that a run makes tells of anew: a few examples, and every number once."""

    def __init__(self) -> None:
        super().__init__()
        self._examples, self._said = 0, set[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to say it."""
        text = record.getMessage()
        if not text.startswith("left out: "):
            return True
        example = record.msg == EXAMPLE
        new = text not in self._said and not (example and self._examples == EXAMPLES)
        self._examples += example and new
        self._said.add(text)
        return new


@contextmanager
def narrated() -> Iterator[None]:
    """`_told`, and of rows left out a few examples only."""
    few, logs = _Few(), [logging.getLogger(name) for name in ("das.data", "das.tasks")]
    for log in logs:
        log.addFilter(few)
    try:
        with _told():
            yield
    finally:
        for log in logs:
            log.removeFilter(few)


@contextmanager
def _told() -> Iterator[None]:
    """Where stdout is no terminal, INFO records of das go to stderr: engine tier, steps and losses, controls."""
    if watched():
        yield
        return
    log, handler = logging.getLogger("das"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
