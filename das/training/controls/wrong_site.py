"""Wrong site: the same method made at other positions of the same layers.

Positions that share a token with the right ones in any test prompt do not count as other. "last" is tried first (or
what `controls.wrong_positions` says), then the first prompt token. Whether what is looked for is absent there is for
the user to say: in late layers the last token carries the answer; reports remark on a wrong site that works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from das.data.dataset import PairDataset
from das.errors import CapabilityError, PositionError
from das.interventions.sets import InterventionSet
from das.training.controls.base import Subject
from das.training.interchange import interchange_of
from das.training.learn import learn
from das.training.problem import Problem
from das.training.recipe import Recipe


@final
@dataclass(frozen=True)
class WrongSite:
    """Other positions."""

    title = "wrong site"
    meaning = "the same training at another token"
    trained = True

    def make(self, subject: Subject) -> Sequence[InterventionSet | None]:
        """Learned again elsewhere."""
        recipe = elsewhere(subject.problem, subject.again(), subject.wrong_positions)
        return [interchange_of(learn(subject.problem, recipe, quiet=True).interventions)]


def elsewhere(problem: Problem, recipe: Recipe, wrong_positions: str) -> Recipe:
    """The recipe at positions that share no token with its own, in the same rows.

    Raises:
        CapabilityError: there are none among those tried.
        PositionError: a row does not have those tried, where such rows are an error (data.strict).
    """
    test = problem.dataset("test", interchange_of(recipe.place(problem)))
    for positions in dict.fromkeys((wrong_positions, "first")):
        moved = recipe.at(positions)
        try:
            there = problem.moved(test, interchange_of(moved.place(problem)))
        except PositionError:
            if problem.data.strict:
                raise
            continue
        if all(mine.isdisjoint(other) for mine, other in zip(_touched(test), _touched(there), strict=True)):
            return moved
    raise CapabilityError(
        "no other positions to compare with: those tried share tokens with the right ones, or some rows lack them",
        got=f"sites {', '.join(map(str, recipe.sites))}, tried {wrong_positions} and first",
        remedy="give controls.wrong_positions",
    )


def _touched(data: PairDataset) -> list[set[int]]:
    """Per row, every base position that any placement writes."""
    columns = [name for name in data.table.column_names if name.startswith("write:")]
    found = data.table.select_columns(columns)
    return [{int(i) for name in columns for i in row[name]} for row in found]


CONTROL = WrongSite()
