"""The type of a composed configuration: OmegaConf's own to a type checker, anything to a run-time one.

OmegaConf's classes derive from deprecated generics, which run-time checkers of annotations warn about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig as Config
else:
    Config = Any

__all__ = ["Config"]
