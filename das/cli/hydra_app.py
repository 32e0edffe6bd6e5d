"""Running a command under hydra: arguments in, typed errors out.

A configuration is composed before the command's own module is imported: composing needs no torch, so most mistakes are
answered in a second.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf

from das.cli.config import Config
from das.cli.elsewhere import NOTED, collected, is_here, leave
from das.cli.help import primary
from das.cli.hydra_errors import translated
from das.cli.hydra_text import quote_overrides, quoted
from das.cli.multirun import Job, report
from das.cli.paths import conf_dir
from das.errors import ConfigError

#: What every command wants from hydra; given before the user's own overrides, so those win.
_QUIET = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
    NOTED,
)
_MULTIRUN = ("-m", "--multirun")
_WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir")
#: Command -> the setting that arguments without a "=" are of: `das bench mini`, `das compare RUN RUN`.
_BARE = {"bench": "suite", "compare": "runs"}

_typed: list[str] = []


def launch(command: str, args: Sequence[str]) -> int:
    """Compose a command's configuration and call its `job`, once or once per job of a multirun.

    Args:
        command: a module of `das.cli` with a `job(cfg)`.
        args: the command line after the command's name.

    Returns:
        The exit code.

    Raises:
        DasError: what the job raised, or what hydra found wrong, in this package's words.
    """
    flags, given = _split(args, command)
    flags, searched = _search_path(flags)
    multirun = any(flag in _MULTIRUN for flag in flags)
    config, jobs, line = primary(command), list[Job](), [command, *args]
    composed = [*searched, *_preset(command, given), *quote_overrides(given, sweep=multirun)]

    def job(cfg: Config) -> Any:
        remember(line)
        jobs.append(Job(overrides()))
        try:
            _need_all(cfg)
            jobs[-1].value = importlib.import_module(f"das.cli.{command}").job(cfg)
        except Exception as error:
            jobs[-1].error = found = translated(error, config, composed)
            found.__cause__ = None if found is error else error
            return math.nan  # what sweepers that optimise take for a failed trial
        finally:
            jobs[-1].folder = cfg.get("run_dir")
            if not is_here():
                leave(jobs[-1])
        return jobs[-1].value

    decorated = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config)(job)
    with TemporaryDirectory(prefix="das-") as scratch:
        argv = ["das " + command, *flags, *_QUIET, *_folders(command, composed, scratch), *composed]
        with _hydra_process(argv):
            try:
                decorated()
            except Exception as error:
                raise translated(error, config, composed, composing=True) from error
    if multirun or len(jobs) > 1:
        return report(jobs + collected())
    for one in jobs:
        if one.error is not None:
            raise one.error
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


def remember(line: Sequence[str]) -> None:
    """What was typed; in every process that runs a job."""
    _typed[:] = line


def typed() -> list[str]:
    """The command line of this process, without the program's name."""
    return list(_typed)


def _search_path(flags: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags without `--config-dir FOLDER`, and that folder as an override: then messages about mistakes know it.

    Raises:
        ConfigError: there is no such folder.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", nargs="?", const="")
    known, rest = parser.parse_known_args(flags)
    if known.config_dir is None:
        return rest, []
    folder = Path(known.config_dir).expanduser().absolute()
    if not known.config_dir or not folder.is_dir():
        raise ConfigError("--config-dir needs a folder of yaml groups", got=known.config_dir or "nothing")
    return rest, [f"hydra.searchpath=[{quoted(f'file://{folder}')}]"]


def _preset(command: str, given: Sequence[str]) -> list[str]:
    """What the demo is, unless the user says otherwise."""
    if command != "demo":
        return []
    preset = ("experiment=das_name_gender", f"run_dir=runs/demo-{datetime.now():%Y%m%d-%H%M%S-%f}")
    return [p for p in preset if not any(a.split("=")[0] == p.split("=")[0] for a in given)]


def _folders(command: str, composed: Sequence[str], scratch: str) -> list[str]:
    """Where hydra writes: a given run_dir is the folder of a whole multirun, other commands leave nothing behind.

    Raises:
        ConfigError: several folders for one multirun.
    """
    if command not in ("train", "demo", "sweep"):
        return ["hydra.run.dir=.", f"hydra.sweep.dir='{scratch}'", "hydra.sweep.subdir=."]
    given = [o.lstrip("+") for o in composed if o.lstrip("+").startswith("run_dir=")]
    if not given:
        return []
    try:
        several = OverridesParser.create().parse_override(given[-1]).is_sweep_override()
    except OverrideParseException:  # hydra says what is wrong
        return []
    if several:
        raise ConfigError(
            "run_dir is the folder of the whole multirun",
            got=given[-1],
            remedy="give one; each job gets a folder in it",
        )
    return [f"hydra.sweep.dir={given[-1].partition('=')[2]}"]


def _need_all(cfg: Config) -> None:
    """Raise `ConfigError` for a setting that has no default and was not given."""
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise ConfigError(f"{key} has no value", got="nothing", remedy=f"give {key}=VALUE")


def _split(args: Sequence[str], command: str) -> tuple[list[str], list[str]]:
    """Flags (with their values) and overrides, in whatever order they were typed; see `_BARE`."""
    flags, given, bare = list[str](), list[str](), list[str]()
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if not arg.startswith("-"):
            is_bare = command in _BARE and ("=" not in arg or Path(arg).is_dir())
            (bare if is_bare else given).append(arg)
            continue
        flags.append(arg)
        if arg in _WITH_VALUE and rest:
            flags.append(rest.pop(0))
    if bare:
        listed = ",".join(map(quoted, bare))
        given.append(f"{_BARE[command]}={listed if len(bare) == 1 else f'[{listed}]'}")
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
