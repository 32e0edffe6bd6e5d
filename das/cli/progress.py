"""Progress for those who see no progress bar: what the loggers of das say, as plain lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def watched() -> bool:
    """Whether somebody looks at a terminal."""
    return sys.stdout.isatty()


@contextmanager
def narrated() -> Iterator[None]:
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
