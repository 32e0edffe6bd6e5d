"""The interface of an objective: what data and which frozen runs it needs, and the loss of a batch.

Every loss is a sum over what it counts (real label tokens, or pairs of responses) divided by their number (not a mean
of per-row means), so padding and the way rows are batched or accumulated do not change what is minimised. Maths in fp32
whatever the model's dtype.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch
from das.distributions import kl as kl
from das.distributions import log_probs as log_probs
from das.errors import UnknownChoiceError
from das.outputs import FrozenRun, Outputs
from das.shapes import LabelMask
from das.types import Rows, Site


@dataclass(frozen=True)
class Needs:
    """What an objective needs.

    Attributes:
        rows: the kind of data, see `das.types.Rows`.
        runs: frozen runs whose logits it looks at.
        watch: sites whose activations in the intervened run it looks at.
        tokenwise: it is a mean over label tokens, each of which it looks at alone: a few can be done at a time.
        values: every pair needs a causal model's value (`CounterfactualPair.value`).

    Raises:
        UnknownChoiceError: no such kind of data, or no such run.
    """

    rows: Rows = "pairs"
    runs: frozenset[FrozenRun] = frozenset()
    watch: tuple[Site, ...] = ()
    tokenwise: bool = False
    values: bool = False

    def __post_init__(self) -> None:
        if self.rows not in get_args(Rows):
            raise UnknownChoiceError("kind of rows of an objective", self.rows, get_args(Rows))
        for run in self.runs - set(get_args(FrozenRun)):
            raise UnknownChoiceError("frozen run of an objective", run, get_args(FrozenRun))


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise, its named parts for the log, and how many things (tokens, pairs) it averages over."""

    total: Float[Tensor, ""]
    count: int
    parts: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


class Factored(ABC):
    """Abstract. Inherited by objectives that train with steering factors."""

    @abstractmethod
    def factors(self, batch: PairBatch) -> Float[Tensor, " batch"] | None:
        """One factor per row, a function of the batch alone (`batch.draw` is all the randomness there is); None for a
        sum of which no term has any.
        """


def with_factors(objective: Objective, batch: PairBatch) -> PairBatch:
    """The batch with the factors that the objective trains with, if it does."""
    factors = objective.factors(batch) if isinstance(objective, Factored) else None
    return batch if factors is None else replace(batch, factor=factors)


@runtime_checkable
class Objective(Protocol):
    """A callable object that says what it needs."""

    @property
    def needs(self) -> Needs:
        """Data and frozen runs."""
        ...

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        ...


def token_mean(values: Float[Tensor, "batch label"], mask: LabelMask) -> tuple[Float[Tensor, ""], int]:
    """Sum over real tokens / their number."""
    tokens = int(mask.sum())
    return torch.where(mask, values, 0.0).sum() / max(tokens, 1), tokens
