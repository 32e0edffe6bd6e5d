"""Optimiser and learning-rate schedule, as one small value.

Defaults are the ones CDAS uses (AdamW, no weight decay, linear decay to zero, gradient norm clipped to 1; arXiv
2602.05234). Learning rates are meaningful because bases are orthonormal: 0.01 to 0.05 suits rank 1. Parts may ask for
a multiple of the rate (`das.part.Grouped`): Boundless DAS learns its boundary ten times faster than its rotation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from das.errors import InputError, UnknownChoiceError
from das.interventions.sets import InterventionSet
from das.part import ParamGroup, groups_of

Schedule = Literal["linear", "constant"]


@runtime_checkable
class Optimizer(Protocol):
    """Makes a torch optimiser and its per-step schedule."""

    @property
    def clip(self) -> float:
        """Largest gradient norm; 0 does not clip."""
        ...

    def build(self, interventions: InterventionSet, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """Over everything learned, for a run of `steps` steps."""
        ...


@dataclass(frozen=True)
class AdamW:
    """AdamW with a schedule over the run's optimiser steps.

    Attributes:
        lr: peak learning rate.
        weight_decay: of parts that are not constrained to a manifold.
        betas: moment decay rates.
        schedule: "linear" decays to zero at the last step, "constant" does not.
        warmup: share of the steps over which the rate rises from zero.
        clip: largest gradient norm; 0 does not clip.
    """

    lr: float = 0.04
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "linear"
    warmup: float = 0.0
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.schedule not in ("linear", "constant"):
            raise UnknownChoiceError("schedule", self.schedule, ("linear", "constant"))
        if not self.lr > 0:
            raise InputError("the learning rate must be positive", got=self.lr)
        if not 0 <= self.warmup < 1:
            raise InputError("warmup is a share of the steps, in [0, 1)", got=self.warmup)
        for name in ("weight_decay", "clip"):
            if not getattr(self, name) >= 0:
                raise InputError(
                    f"optimizer.{name} must not be negative", got=getattr(self, name), remedy="0 turns it off"
                )

    def build(self, interventions: InterventionSet, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """The optimiser over everything learned, and its schedule over `steps`."""
        groups: list[dict[str, Any]] = [
            {
                "params": list(g.parameters),
                "lr": self.lr * g.lr_scale,
                "weight_decay": self.weight_decay if g.decay else 0.0,
            }
            for g in _groups(interventions)
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(self.betas[0], self.betas[1]))
        rising = round(self.warmup * steps)

        def share(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            return 1.0 if self.schedule == "constant" else max(0.0, (steps - step) / max(1, steps - rising))

        return optimizer, LambdaLR(optimizer, share)


def _groups(interventions: InterventionSet) -> list[ParamGroup]:
    """Every trainable parameter once, as the first part that has it says; those that learn alike are one group."""
    seen: set[int] = set()
    kinds: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for intervention in interventions.distinct():
        for group in (g for part in intervention.parts() for g in groups_of(part)):
            fresh = [p for p in group.parameters if id(p) not in seen]
            seen.update(map(id, fresh))
            kinds.setdefault((group.lr_scale, group.decay), []).extend(fresh)
    return [ParamGroup(found, *kind) for kind, found in kinds.items() if found]
