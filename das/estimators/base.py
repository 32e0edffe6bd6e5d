"""What an estimator is given and what it returns.

An estimator fits on tensors; whoever calls it (`das.training.estimate`) reads them off the model. It returns
interventions, with nothing left to learn unless the method trains them on (MSRS, `anchored`). All maths in fp64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from das.errors import EmptySplitError, InputError
from das.estimators.rounding import principal
from das.interventions.base import Intervention
from das.models.families import ModelView
from das.types import Site

POSITIVE, NEGATIVE = 1, 0

Entries = Sequence[tuple[Site, Intervention]]


@dataclass(frozen=True)
class Examples:
    """Activations of labelled prompts at one site, one row per token read.

    Attributes:
        x: activations, (N, width).
        label: concept value of the row's prompt, (N,); for a two-valued concept 1 is positive and 0 negative.
        prompt: number of the prompt a row comes from, (N,).
        pair: number of the contrast the prompt belongs to, (N,): both sides of a contrast share it.
        position: real position of the token in its prompt, (N,).
        gradient: of an objective with respect to the activation, (N, width), for `Differentiating` estimators.
        concept: number of the concept that the prompt's contrast is about, (N,), where a task has several.

    Raises:
        InputError: unequal lengths, or activations or gradients that are not finite.
        EmptySplitError: no rows.
    """

    x: Float[Tensor, "row width"]
    label: Int[Tensor, " row"]
    prompt: Int[Tensor, " row"]
    pair: Int[Tensor, " row"]
    position: Int[Tensor, " row"]
    gradient: Float[Tensor, "row width"] | None = None
    concept: Int[Tensor, " row"] | None = None

    def __post_init__(self) -> None:
        lengths = {len(t) for t in (self.x, self.label, self.prompt, self.pair, self.position)}
        if len(lengths) > 1:
            raise InputError("every activation needs a label, a prompt, a pair and a position", got=str(lengths))
        if not len(self.x):
            raise EmptySplitError("an estimator needs activations", got="none")
        if not bool(torch.isfinite(self.x).all()):
            raise InputError("activations hold NaN or infinity", remedy="load the model in float32 or bfloat16")
        if self.gradient is not None and not bool(torch.isfinite(self.gradient).all()):
            raise InputError("gradients hold NaN or infinity", remedy="load the model in float32 or bfloat16")

    @classmethod
    def of(cls, x: Float[Tensor, "row width"], label: Int[Tensor, " row"]) -> Examples:
        """One token per prompt; the n-th prompts of all labels make a pair."""
        rows = torch.arange(len(x), device=x.device)
        pair = torch.zeros_like(rows)
        for value in label.unique():
            pair[label == value] = torch.arange(int((label == value).sum()), device=x.device)
        return cls(x, label, rows, pair, torch.zeros_like(rows))

    @property
    def width(self) -> int:
        """Size of the activation."""
        return int(self.x.shape[1])

    @property
    def size(self) -> float:
        """Mean length of an activation."""
        return float(self.x.double().norm(dim=1).mean())

    @property
    def classes(self) -> tuple[int, ...]:
        """The labels that occur, ascending."""
        return tuple(int(c) for c in self.label.unique().tolist())

    def side(self, label: int, among: Bool[Tensor, " row"] | None = None) -> Float[Tensor, "side width"]:
        """Activations of one concept value (of these rows), fp64.

        Raises:
            EmptySplitError: there is none.
        """
        here = self.label == label
        found = self.x[here if among is None else here & among].double()
        if not len(found):
            raise EmptySplitError(f"no activation of concept value {label}", got=f"values {self.classes}")
        return found

    def means(self) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
        """Mean activation of the positive and of the negative value, over all tokens, fp64."""
        return self.side(POSITIVE).mean(0), self.side(NEGATIVE).mean(0)

    def centred(self) -> Float[Tensor, "row width"]:
        """Activations less their mean, in the directions in which they vary by more than rounding, fp64.

        Raises:
            InputError: they are all the same.
        """
        u, spread, axes = principal(self.x)
        if not len(spread):
            raise InputError("all activations are the same", got=f"{len(u)} rows", remedy="read at another position")
        return (u * spread) @ axes

    def pooled(self) -> Examples:
        """One row per prompt, the mean over its tokens, fp64."""
        numbers, inverse = self.prompt.unique(return_inverse=True)
        rows = torch.arange(len(inverse), device=inverse.device)
        first = torch.full_like(numbers, len(inverse)).scatter_reduce(0, inverse, rows, "amin")

        def mean(values: Tensor) -> Tensor:
            total = torch.zeros(len(numbers), self.width, dtype=torch.float64, device=values.device)
            return total.index_add_(0, inverse, values.double()) / torch.bincount(inverse)[:, None]

        gradient = None if self.gradient is None else mean(self.gradient)
        concept = None if self.concept is None else self.concept[first]
        kept = (self.label[first], numbers, self.pair[first], self.position[first])
        return Examples(mean(self.x), *kept, gradient, concept)

    def differences(self) -> Float[Tensor, "pair width"]:
        """Positive minus negative side of every contrast, each averaged over its tokens, fp64.

        Raises:
            EmptySplitError: no contrast has both sides.
        """
        pooled = self.pooled()
        sides = [{int(p): x for p, x in zip(pooled.pair[at], pooled.x[at], strict=True)}
                 for at in (pooled.label == POSITIVE, pooled.label == NEGATIVE)]  # fmt: skip
        shared = sorted(set(sides[0]) & set(sides[1]))
        if not shared:
            raise EmptySplitError("no contrast has both of its sides", got=f"values {self.classes}")
        return torch.stack([sides[0][p] - sides[1][p] for p in shared])

    def relabelled(self, label: Int[Tensor, " row"]) -> Examples:
        """The same activations with other labels."""
        return replace(self, label=label)


@runtime_checkable
class Estimator(Protocol):
    """Fits every site on its own."""

    def fit(self, examples: Examples) -> Intervention:
        """An intervention.

        Raises:
            EmptySplitError: a concept value without activations.
            InputError: activations from which nothing can be estimated (equal means, too few, ...).
        """
        ...


@dataclass(frozen=True)
class Effects:
    """What candidate interventions do to held-out prompts, measured on the next token.

    Attributes:
        log_odds: mean of log p(positive label) - log(1 - p(positive label)) on prompts of the positive value and of the
            negative one.
        kl: mean KL(unmodified ‖ intervened) on prompts of the negative value, nats.
    """

    log_odds: tuple[float, float]
    kl: float


#: Runs the model with interventions on validation prompts.
Trial = Callable[[Entries], Effects]


@dataclass(frozen=True)
class Found:
    """What was read at one site: training and validation examples."""

    train: Examples
    val: Examples


@runtime_checkable
class SetEstimator(Protocol):
    """Fits several sites together: chooses among heads, layers, positions."""

    def candidates(self, view: ModelView, sites: Sequence[Site]) -> Sequence[Site]:
        """The sites to consider, for those a user gave; each is read where its `source_positions` say."""
        ...

    def fit_set(self, view: ModelView, found: Mapping[Site, Found], trial: Trial) -> Entries:
        """Interventions with the sites they are written at.

        Args:
            view: the model, of which only the shape may be used.
            found: what was read at every candidate.
            trial: measures interventions on validation prompts.

        Raises:
            EmptySplitError, InputError: as `Estimator.fit`, or no candidate passes.
        """
        ...


class Differentiating:
    """Inherited by estimators that fit on `Examples.gradient`.

    Attributes:
        objective: what is differentiated on the training rows it asks for, a `das.objectives.base.Objective`.
    """

    objective: Any
