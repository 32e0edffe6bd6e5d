"""What Lightning does that we do not want: advertisements, and ending the process at Ctrl-C."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Undo Lightning's answer to Ctrl-C, which is to ignore further ones and to end the process without a word.

    Raises:
        KeyboardInterrupt: there was one.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):  # somebody else's
            raise
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
        raise KeyboardInterrupt from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and a deprecation inside Lightning itself from the user; not its warnings."""
    chatter = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = chatter.level
    chatter.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", UserWarning)
            warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`", UserWarning)
            yield
    finally:
        chatter.setLevel(level)
