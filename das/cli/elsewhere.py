"""Jobs of a multirun in other processes (hydra/launcher=joblib, submitit_local, ...): what each leaves for the table.

A job that another process runs writes what became of it below the multirun's folder, the one place that all of them
share; the process that launched them reads it at the end.
"""

from __future__ import annotations

import json
import shutil
import traceback
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback

from das.cli.config import Config
from das.cli.multirun import Job, JobError
from das.errors import DasError

RECORDS = ".jobs"
#: Makes hydra say, in the process that launches, where the jobs' folders are.
NOTED = "+hydra.callbacks.das={_target_:das.cli.elsewhere.Noted}"

_folders: list[Path] = []


class Noted(Callback):
    """Remembers the multirun's folder, without what an earlier one left there."""

    def on_multirun_start(self, config: Config, **_: Any) -> None:
        """Before any job."""
        _folders[:] = [Path(str(config.hydra.sweep.dir)) / RECORDS]
        shutil.rmtree(_folders[0], ignore_errors=True)


def is_here() -> bool:
    """Whether all jobs run in this process, so that it knows what became of each."""
    return str(HydraConfig.get().runtime.choices.get("hydra/launcher", "basic")) == "basic"


def leave(job: Job) -> None:
    """Write what became of the current job."""
    hydra = HydraConfig.get()
    folder = Path(str(hydra.sweep.dir)) / RECORDS
    folder.mkdir(parents=True, exist_ok=True)
    expected = job.error is None or isinstance(job.error, DasError)
    trace = "" if expected else "".join(traceback.format_exception(job.error))
    error = None if job.error is None else [str(job.error), trace]
    record = {"overrides": job.overrides, "value": job.value, "folder": job.folder, "error": error}
    (folder / f"{hydra.job.num}.json").write_text(json.dumps(record), encoding="utf-8")


def collected() -> list[Job]:
    """What the jobs of the multirun that has just ended left, in their order; it is then gone."""
    found = []
    for folder in _folders:
        for file in sorted(folder.glob("*.json"), key=lambda f: int(f.stem)):
            record = json.loads(file.read_text(encoding="utf-8"))
            error = None if record["error"] is None else JobError(*record["error"])
            found.append(Job(record["overrides"], record["value"], record["folder"], error))
        shutil.rmtree(folder, ignore_errors=True)
    _folders.clear()
    return found
