"""How an intervention is made: method, sites, objective, optimiser, trainer, seed. Controls follow the same recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from das.errors import ConfigError
from das.estimators.base import Estimator, SetEstimator
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.objectives import objective as objective_named
from das.objectives.base import Objective
from das.seeding import seeded
from das.training.estimate import estimated
from das.training.loop import TrainerSettings
from das.training.optim import Optimizer
from das.training.problem import Problem
from das.types import Site

#: Called with `width=`, it makes an intervention that is then trained.
Builder = Callable[..., Intervention]
#: How interventions are made: built and trained, or estimated from activations (and then perhaps trained).
Method = Builder | Estimator | SetEstimator


@dataclass(frozen=True)
class Recipe:
    """Everything about a run that is neither the model nor the task nor the data.

    Attributes:
        method: the method with everything but the width.
        sites: where; each gets an intervention of its own.
        tied: whether all sites share one intervention instead.
        objective: what is minimised; None for the method's own.
        optimizer: how.
        trainer: how long.
        seed: of initialisation, order and samplers.
    """

    method: Method
    sites: tuple[Site, ...]
    tied: bool
    objective: Objective | None
    optimizer: Optimizer
    trainer: TrainerSettings
    seed: int

    def at(self, positions: str) -> Recipe:
        """The same at other positions, read and written."""
        return replace(self, sites=tuple(replace(s, positions=positions, source_positions=None) for s in self.sites))

    def minimised(self, placed: InterventionSet) -> Objective:
        """The objective that trains these interventions.

        Raises:
            ConfigError: they do not agree on one, and none is given.
            UnknownChoiceError: there is no such objective.
        """
        if self.objective is not None:
            return self.objective
        own = sorted({x.trained_by for x in placed if any(p.requires_grad for p in x.parameters())})
        if len(own) != 1:
            raise ConfigError("these interventions agree on no objective", got=str(own), remedy="give objective=...")
        made: Objective = objective_named(own[0])
        return made

    def place(self, problem: Problem, shuffled: bool = False) -> InterventionSet:
        """Fresh interventions, initialised from the seed without touching the global random state.

        Args:
            problem: model, task, data.
            shuffled: estimate from concept values that were dealt out at random (a control).

        Raises:
            ConfigError: no method, no site, or tied sites of different widths.
            SiteError: a site does not exist in the model.
        """
        if isinstance(self.method, Estimator | SetEstimator):
            if self.tied:
                got = type(self.method).__name__
                raise ConfigError("an estimator fits every site on its own", got=got, remedy="use tied=false")
            with seeded(self.seed):  # some leave a part to be trained from a random start
                return estimated(problem, self.method, self.sites, self.seed, shuffled)
        if isinstance(self.method, Intervention) or not callable(self.method):
            got = type(self.method).__name__
            raise ConfigError(
                "this is no method", got=got, remedy='give das.method("das", rank=1), or a function of width'
            )
        if not self.sites:
            raise ConfigError("a method needs at least one site", got="none", remedy="give das.Site(layer=...)")
        widths = [problem.view.bind(site).width for site in self.sites]
        with seeded(self.seed):
            made = _made(self.method, self.sites, widths, self.tied)
        placed = InterventionSet(list(zip(self.sites, made, strict=True)))
        return placed if problem.device.type == "meta" else placed.to(problem.device)


def _made(method: Builder, sites: Sequence[Site], widths: Sequence[int], tied: bool) -> list[Intervention]:
    if not tied:
        return [method(width=width) for width in widths]
    if len(set(widths)) != 1:
        got = ", ".join(f"{site}: {width}" for site, width in zip(sites, widths, strict=True))
        raise ConfigError("sites that share one intervention must be equally wide", got=got, remedy="use tied=false")
    return [method(width=widths[0])] * len(sites)
