"""Every yaml of a config group is a test id: a new method, objective or metric is under contract by existing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf"


def names(group: str) -> list[str]:
    """All yaml files of a group."""
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


def made(group: str, name: str, /, **changes: Any) -> Any:
    """The object (or partial) a yaml describes."""
    config = OmegaConf.load(CONF / group / f"{name}.yaml")
    config.pop("defaults", None)  # which objective trains it
    return instantiate(OmegaConf.merge(config, changes))
