"""Hydra's and OmegaConf's errors in this package's words: what, which value, which choices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from das.cli.config import Config
from das.cli.help import choices, groups
from das.cli.imports import why_not
from das.cli.paths import conf_dir
from das.errors import ConfigError, DasError, UnknownChoiceError

_REFUSED = re.compile(r"Could not override '([^']+)'")
_SWEPT = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?:$|\n| requires)", re.DOTALL)
_TARGET = re.compile(r"Error locating target '([^']*)'")
_KEY = re.compile(r"full_key: (\S+)")


def translated(error: Exception, config: str, overrides: Sequence[str], composing: bool = False) -> Exception:
    """A DasError for what hydra found wrong (when composing, whatever its type); anything else unchanged."""
    if isinstance(error, DasError):
        return error
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, MissingConfigException):
        return _missing_file(error)
    if isinstance(error, OverrideParseException):
        return ConfigError("this argument is not KEY=VALUE", got=repr(error.override), remedy=_line(error))
    if isinstance(error, MissingMandatoryValue):
        key = (error.full_key or "").lstrip(".")
        return ConfigError(f"{key} has no value", got="nothing", remedy=f"give {key}=VALUE")
    if isinstance(error, HydraException) and (swept := _SWEPT.search(str(error))):
        key = swept[1].partition("=")[0]
        remedy = f"add -m to run once for each; a list is written {key}=[...]"
        return ConfigError(f"{key} has several values", got=swept[1], remedy=remedy)
    if isinstance(error, HydraException) and (refused := _REFUSED.search(str(error))):
        return _unknown_key(refused[1], config, overrides)
    if composing and isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return ConfigError(
            "the run folder cannot be made", got=str(error.filename), remedy=f"{reason}: give another run_dir"
        )
    if isinstance(error, HydraException | OmegaConfBaseException) or (composing and isinstance(error, ValueError)):
        cause = f" ({_line(error.__cause__)})" if isinstance(error.__cause__, Exception) else ""
        return ConfigError("the configuration cannot be composed", got=_line(error) + cause)
    return error


def _missing_file(error: MissingConfigException) -> DasError:
    """No such choice in a group; a model's own name or path belongs elsewhere."""
    missing = error.missing_cfg_file or ""
    group = max((g for g in groups() if missing.startswith(f"{g}/")), key=len, default=missing.rpartition("/")[0])
    name = missing[len(group) + 1 :] if group else missing
    if group == "model":
        remedy = f"For a folder or hub id give model=hf model.path={name}"
    else:
        remedy = f"`das ls {group}` describes them" if group and "/" not in group else ""
    return UnknownChoiceError(group or "config", name, error.options or choices(group), remedy)


def _unknown_key(key: str, config: str, overrides: Sequence[str]) -> DasError:
    """The nearest settings of the same section; of all sections where there is no such section."""
    parent, _, name = key.rpartition(".")
    whole = _composed(config, [o for o in overrides if o.lstrip("+~").split("=")[0] != key])
    node = OmegaConf.select(whole, parent) if parent else whole
    settings = list(_keys(OmegaConf.to_container(whole, resolve=False)))
    same = [s for s in settings if s.rpartition(".")[2] == name]
    near = [*same, *get_close_matches(key, settings, n=1)]
    if isinstance(node, DictConfig) and (parent or not same):
        known = [str(k) for k in node if not str(k).startswith("_")]
        return UnknownChoiceError(f"setting of {parent}" if parent else "setting", name, known)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError("there is no such setting", got=key, remedy=f"{hint}`das COMMAND --help` lists them")


def _composed(config: str, overrides: Sequence[str]) -> Config:
    """The configuration without what was refused; its defaults where even that cannot be composed here."""
    try:
        return _compose(config, overrides)
    except (HydraException, OmegaConfBaseException):
        return _compose(config, [])


def _compose(config: str, overrides: Sequence[str]) -> Config:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(config, list(overrides))


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of all settings."""
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if not str(name).startswith("_"):
            yield f"{prefix}{name}"
            yield from _keys(value, f"{prefix}{name}.")


def _instantiation(error: InstantiationException) -> Exception:
    """The typed error inside, if there is one; else what cannot be imported, or built."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DasError):
            return cause
        cause = cause.__cause__
    text, key = str(error), _KEY.search(str(error))
    where = key[1] if key else "a part of the configuration"
    if target := _TARGET.search(text):
        return ConfigError(f"{where}._target_ cannot be imported", got=target[1], remedy=why_not(target[1]))
    return ConfigError(f"{where} cannot be built", got=" ".join(_KEY.sub("", text).split()))


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
