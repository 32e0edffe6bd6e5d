"""What a sweep goes over."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from das.errors import ConfigError, InputError
from das.estimators.base import Estimator, SetEstimator
from das.sweeping.columns import Column
from das.training.recipe import Method, Recipe
from das.types import Site

ALL = "all"


@dataclass(frozen=True)
class Cell:
    """One run of a sweep; `rank` is None where the method's own is kept."""

    layer: int | None
    column: int
    positions: str
    rank: int | None
    seed: int

    @property
    def key(self) -> tuple[int | None, str, int | None, int]:
        """What tells it from the others."""
        return self.layer, self.positions, self.rank, self.seed


@dataclass(frozen=True)
class Grid:
    """Layers, positions, ranks and seeds; every combination is a cell.

    Attributes:
        layers: block indices, or "all".
        positions: of the position grammar, or "all" for every token of the prompts.
        ranks: or None for the method's own.
        seeds: of initialisation and order; the data stay those of the run's seed.

    Raises:
        InputError: an empty axis, or something twice.
    """

    layers: Sequence[int] | str = ALL
    positions: Sequence[str] | str = ALL
    ranks: Sequence[int] | None = None
    seeds: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        for name in ("layers", "positions", "ranks", "seeds"):
            axis = getattr(self, name)
            if isinstance(axis, str) and axis != ALL:
                raise InputError(f"grid.{name} must be a list or {ALL!r}", got=axis, remedy=f"give [{axis}]")
            if axis is not None and not isinstance(axis, str) and (not axis or len(set(axis)) < len(axis)):
                raise InputError(f"grid.{name} must not be empty or hold something twice", got=list(axis))

    def depths(self, n_layers: int) -> tuple[int, ...]:
        """The layers, in a model of so many."""
        return tuple(range(n_layers)) if isinstance(self.layers, str) else tuple(self.layers)

    def cells(self, layers: Sequence[int], columns: Sequence[Column]) -> Iterator[Cell]:
        """All combinations, site by site."""
        for layer, (number, column) in product(layers, enumerate(columns)):
            for rank, seed in product(self.ranks or (None,), self.seeds):
                yield Cell(layer, number, column.positions, rank, seed)


def recipe_of(recipe: Recipe, site: Site, cell: Cell) -> Recipe:
    """The recipe of one cell: the site's component, the cell's layer, positions, rank and seed."""
    where = replace(site, layer=cell.layer, positions=cell.positions, source_positions=None)
    return replace(recipe, sites=(where,), method=with_rank(recipe.method, cell.rank), seed=cell.seed)


def with_rank(method: Method, rank: int | None) -> Method:
    """The method at a rank.

    Raises:
        ConfigError: it has none to set.
    """
    if rank is None:
        return method
    if isinstance(method, Estimator | SetEstimator):
        if hasattr(method, "rank") and hasattr(method, "__dataclass_fields__"):
            return replace(method, rank=rank)  # type: ignore[type-var]
    elif "rank" in inspect.signature(method).parameters:
        return partial(method, rank=rank)
    raise ConfigError("this method has no rank to sweep over", got=repr(method), remedy="use grid.ranks=null")
