"""Running a command under hydra: arguments in, typed errors out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from das.cli.config import Config
from das.cli.hydra_errors import translated
from das.cli.hydra_text import quote_overrides
from das.cli.paths import conf_dir

Function = Callable[[Config], Any]

#: What every command wants from hydra; given before the user's own overrides, so those win.
_QUIET = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
)
#: For commands that have no run folder.
NO_FOLDER = ("hydra.run.dir=.", "hydra.sweep.dir=.", "hydra.sweep.subdir=.")
#: What `launch` puts on a command line that nobody typed.
ADDED = frozenset({*_QUIET, *NO_FOLDER})
_MULTIRUN = ("-m", "--multirun")
_WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir")


def launch(command: str, config: str, args: Sequence[str], function: Function, preset: Sequence[str] = ()) -> int:
    """Compose `config` with the command line and call `function` with it, once or once per job of a multirun.

    Raises:
        DasError: what the function raised, or what hydra found wrong, in this package's words.
    """
    flags, given = _split(args)
    overrides = quote_overrides(given, sweep=any(flag in _MULTIRUN for flag in flags))
    failed: list[Exception] = []

    def job(cfg: Config) -> Any:
        try:
            return function(cfg)
        except Exception as error:
            failed.append(error)
            if is_multirun():  # hydra says which job it was; otherwise it would only add noise
                raise
            return None

    decorated = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config)(job)
    with _hydra_process(["das " + command, *flags, *_QUIET, *preset, *overrides]):
        try:
            decorated()
        except Exception as error:
            if error not in failed:
                raise translated(error, config, [*preset, *overrides], composing=True) from error
    if failed:
        raise translated(failed[0], config, [*preset, *overrides]) from failed[0]
    return 0


def is_multirun() -> bool:
    """Whether the current job is one of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def choices() -> dict[str, Any]:
    """Group -> the chosen name, or list of names, of the current job; hydra's own groups left out."""
    found = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return {str(k): v for k, v in found.items() if not str(k).startswith("hydra/")}


def overrides() -> list[str]:
    """The current job's overrides."""
    return [str(o) for o in HydraConfig.get().overrides.task] if HydraConfig.initialized() else []


def _split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags (with their values) and overrides, in whatever order they were typed."""
    flags, given, rest = [], [], list(args)
    while rest:
        arg = rest.pop(0)
        if not arg.startswith("-"):
            given.append(arg)
            continue
        flags.append(arg)
        if arg in _WITH_VALUE and rest:
            flags.append(rest.pop(0))
    return flags, given


@contextmanager
def _hydra_process(argv: list[str]) -> Iterator[None]:
    """Hydra reads `sys.argv`, and lets exceptions through only if the environment says so."""
    before, variable = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before
        if variable is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = variable
