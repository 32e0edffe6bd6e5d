"""Weighted sum: several objectives on the same rows.

Equation   sum_i weight_i loss_i
Rows       those of its terms
Counts     what its first term counts: where others count something else (tokens, pairs), each loss is still the mean
           over what it counts in a batch, but batches that are accumulated weigh as the first term says
Raises     ConfigError without terms, or where their rows or factors disagree
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import final

from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch
from das.errors import ConfigError
from das.objectives.base import Factored, Loss, Needs, Objective
from das.outputs import Outputs


@final
class WeightedSum(Factored):
    """Several objectives at once.

    Args:
        terms: name -> objective.
        weights: name -> weight; 1 where absent.
    """

    def __init__(self, terms: Mapping[str, Objective], weights: Mapping[str, float] | None = None) -> None:
        if not terms:
            raise ConfigError("a weighted sum needs at least one term", got="none")
        if unknown := set(weights or {}) - set(terms):
            raise ConfigError("a weighted sum has weights without a term", got=str(sorted(unknown)))
        rows = {t.needs.rows for t in terms.values()}
        if len(rows) > 1:
            raise ConfigError("the terms of a sum must train on the same rows", got=str(sorted(rows)))
        factored = {name: t for name, t in terms.items() if _chooses(t)}
        if len(factored) > 1:
            raise ConfigError("only one term of a sum can choose the steering factors", got=str(sorted(factored)))
        self.factored = next(iter(factored.values()), None)
        self.terms, self.weights = dict(terms), dict(weights or {})
        runs = frozenset(run for t in terms.values() for run in t.needs.runs)
        watch = tuple(site for t in terms.values() for site in t.needs.watch)
        self.needs = Needs(rows.pop(), runs, watch, values=any(t.needs.values for t in terms.values()))

    def factors(self, batch: PairBatch) -> Float[Tensor, " batch"] | None:
        """Those of the term that has any."""
        return self.factored.factors(batch) if isinstance(self.factored, Factored) else None

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        losses, watched = {}, iter(outputs.watched)
        for name, term in self.terms.items():
            own = tuple(islice(watched, len(term.needs.watch)))
            losses[name] = term(replace(outputs, watched=own), batch)
        first, *others = (self.weights.get(name, 1.0) * loss.total for name, loss in losses.items())
        parts = {name: loss.total.detach() for name, loss in losses.items()}
        return Loss(sum(others, start=first), next(iter(losses.values())).count, parts)


def _chooses(term: Objective) -> bool:
    """Whether a term has factors, which a nested sum only has where one of its terms does."""
    return isinstance(term, Factored) and not (isinstance(term, WeightedSum) and term.factored is None)


OBJECTIVE = WeightedSum
