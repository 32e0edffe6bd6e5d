"""Hydra's and OmegaConf's errors in this package's words: what, which value, which choices."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from das.cli.config import Config
from das.cli.help import choices
from das.cli.paths import conf_dir
from das.errors import ConfigError, DasError, UnknownChoiceError

_REFUSED = re.compile(r"Could not override '([^']+)'")


def translated(error: Exception, config: str, overrides: Sequence[str], composing: bool = False) -> Exception:
    """A DasError for what hydra found wrong (when composing, whatever its type); anything else unchanged."""
    if isinstance(error, DasError):
        return error
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, MissingConfigException):
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return UnknownChoiceError(group or "config", name, error.options or choices(group), _searched(group))
    if isinstance(error, OverrideParseException):
        return ConfigError("this argument is not KEY=VALUE", got=repr(error.override), remedy=_line(error))
    if isinstance(error, MissingMandatoryValue):
        key = (error.full_key or "").lstrip(".")
        return ConfigError(f"{key} has no value", got="nothing", remedy=f"give {key}=VALUE")
    if isinstance(error, HydraException) and (refused := _REFUSED.search(str(error))):
        return _unknown_key(refused[1], config, overrides)
    if isinstance(error, HydraException | OmegaConfBaseException) or (composing and isinstance(error, ValueError)):
        cause = f" ({_line(error.__cause__)})" if isinstance(error.__cause__, Exception) else ""
        return ConfigError("the configuration cannot be composed", got=_line(error) + cause)
    return error


def _unknown_key(key: str, config: str, overrides: Sequence[str]) -> DasError:
    parent, _, name = key.rpartition(".")
    rest = [o for o in overrides if o.lstrip("+~").split("=")[0] != key]
    try:
        node = OmegaConf.select(_compose(config, rest), parent) if parent else _compose(config, rest)
    except (HydraException, OmegaConfBaseException):
        node = None
    if not isinstance(node, DictConfig):
        return ConfigError("there is no such setting", got=key, remedy="`das COMMAND --help` lists them")
    known = [str(k) for k in node if not str(k).startswith("_")]
    return UnknownChoiceError(f"setting of {parent}" if parent else "setting", name, known)


def _compose(config: str, overrides: Sequence[str]) -> Config:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(config, list(overrides))


def _instantiation(error: InstantiationException) -> Exception:
    """The typed error inside, if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DasError):
            return cause
        cause = cause.__cause__
    return ConfigError("a part of the configuration cannot be built", got=" ".join(str(error).split())[:300])


def _searched(group: str) -> str:
    return f"`das ls {group}` describes them" if group and "/" not in group else ""


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
