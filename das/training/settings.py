"""Everything about a run that is not the model, the task, the method or the site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from das.objectives.base import Objective
from das.training.controls.run import ControlSettings
from das.training.loop import TrainerSettings
from das.training.optim import AdamW, Optimizer
from das.training.problem import DataSettings
from das.training.recipe import Method, Recipe
from das.types import Site


@dataclass(frozen=True)
class FitSettings:
    """Settings of `fit`, with defaults that suit rank 1."""

    data: DataSettings = field(default_factory=DataSettings)
    optimizer: Optimizer = field(default_factory=AdamW)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    controls: ControlSettings = field(default_factory=ControlSettings)
    seed: int = 0

    def recipe(self, method: Method, site: Site | Sequence[Site], tied: bool, objective: Objective | None) -> Recipe:
        """How to make `method` at these sites."""
        sites = (site,) if isinstance(site, Site) else tuple(site)
        return Recipe(method, sites, tied, objective, self.optimizer, self.trainer, self.seed)
