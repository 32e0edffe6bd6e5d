"""Optimiser and learning-rate schedule, as one small value.

Defaults are the ones CDAS uses (AdamW, no weight decay, linear decay to zero, gradient norm clipped to 1; arXiv
2602.05234). Learning rates are meaningful because bases are orthonormal: 0.01 to 0.05 suits rank 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from das.errors import InputError, UnknownChoiceError
from das.interventions.sets import InterventionSet

Schedule = Literal["linear", "constant"]


@dataclass(frozen=True)
class AdamW:
    """AdamW with a schedule over the run's optimiser steps.

    Attributes:
        lr: peak learning rate.
        weight_decay: of edits and gates; never applied to featurizers, whose bases live on a manifold.
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

    def build(self, interventions: InterventionSet, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """The optimiser over everything learned, and its schedule over `steps`."""
        bases = {id(p) for x in interventions for p in x.featurizer.parameters()}
        learned = [p for p in interventions.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learned if id(p) in bases], "weight_decay": 0.0},
            {"params": [p for p in learned if id(p) not in bases], "weight_decay": self.weight_decay},
        ]
        optimizer = torch.optim.AdamW(
            [g for g in groups if g["params"]], lr=self.lr, betas=(self.betas[0], self.betas[1])
        )
        rising = round(self.warmup * steps)

        def share(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            return 1.0 if self.schedule == "constant" else max(0.0, (steps - step) / max(1, steps - rising))

        return optimizer, LambdaLR(optimizer, share)
