"""The jobs of a multirun: what became of each, in one table at the end."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from das.cli.terminal import console, near
from das.errors import DasError

#: Heading of what a job returns.
VALUE = "val/iia_changed"


class JobError(DasError):
    """What went wrong in a job that another process ran.

    Args:
        text: its message.
        trace: its traceback, where it was none that this package raises on purpose.
    """

    def __init__(self, text: str, trace: str) -> None:
        self.trace = trace
        super().__init__(text)


@dataclass
class Job:
    """One job: its overrides, and afterwards its number, its folder or its error."""

    overrides: list[str]
    value: Any = None
    folder: str | None = None
    error: Exception | None = None


def report(jobs: Sequence[Job]) -> int:
    """Print all jobs, then the errors of those that failed; returns the exit code."""
    failed = [(number, job.error) for number, job in enumerate(jobs) if job.error is not None]
    if failed and os.environ.get("DAS_DEBUG") == "1":
        raise failed[0][1]
    if jobs:
        console().print(_table(jobs))
    for number, error in failed:
        if isinstance(error, JobError):
            sys.stderr.write(error.trace)
        elif not isinstance(error, DasError):
            traceback.print_exception(error)
        print(f"error: job {number} failed: {' '.join(str(error).split())}", file=sys.stderr)
    return 2 if failed else 0


def _table(jobs: Sequence[Job]) -> Table:
    own = [
        o for o in dict.fromkeys(o for job in jobs for o in job.overrides) if not all(o in j.overrides for j in jobs)
    ]
    valued, placed = (any(getattr(job, name) is not None for job in jobs) for name in ("value", "folder"))
    table = Table(title=f"{len(jobs)} jobs", title_justify="left")
    table.add_column("job", justify="right")
    table.add_column("overrides", overflow="fold")
    if valued:
        table.add_column(VALUE, justify="right")
    if placed:
        table.add_column("folder", overflow="fold")
    for number, job in enumerate(jobs):
        cells = [str(number), " ".join(o for o in job.overrides if o in own or len(jobs) == 1)]
        cells += [_value(job)] if valued else []
        cells += [_folder(job)] if placed else []
        table.add_row(*map(Text, cells), style="red" if job.error is not None else None)
    return table


def _value(job: Job) -> str:
    if job.error is not None:
        return "failed"
    return "-" if job.value is None else f"{job.value:.3f}"


def _folder(job: Job) -> str:
    return str(near(job.folder)) if job.folder is not None and Path(job.folder).is_dir() else "-"
