"""Many trainings in one pass: what `train` does to each of them, with the model run for all at once.

Every member keeps its own batches, order, random numbers, penalties, gradient norm and retraction; only the forward and
backward passes of the model and the optimiser's elementwise arithmetic are shared. Results equal separate runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import pytorch_lightning as pl
import torch

from das.batch import PairBatch
from das.data.dataset import PairDataset
from das.data.loader import PairLoader
from das.engine.tiers import Prepared
from das.engine.together import Together
from das.errors import ConfigError
from das.interventions.sets import InterventionSet
from das.objectives.base import Objective, with_factors
from das.seeding import Stream
from das.training.lightning import interruptible, quiet
from das.training.loop import TrainerSettings, trainer_of
from das.training.loss import losses_of
from das.training.module import finish_gradient, refuse_non_finite, seed_of_step
from das.training.optim import Optimizer


@dataclass(frozen=True)
class Member:
    """One of the trainings.

    Attributes:
        interventions: what is learned.
        ready: its engine, prepared on `data`.
        data: its training pairs.
        objective: what is minimised.
        seed: of its order, and of whatever is random inside the interventions.
    """

    interventions: InterventionSet
    ready: Prepared
    data: PairDataset
    objective: Objective
    seed: int


def train_together(members: Sequence[Member], optimizer: Optimizer, settings: TrainerSettings) -> int:
    """Train all members in place, in one process; they are left in eval mode.

    Args:
        members: with equally many batches per epoch.
        optimizer: how, the same for all.
        settings: steps, batch size and accumulation; there are no checkpoints and no validation.

    Returns:
        Optimiser steps of each.

    Raises:
        EngineError: their engines cannot run together.
        ConfigError: their datasets do not have equally many batches.
        NonFiniteLossError: loss or gradient of a member is not finite; all keep their last good values.
    """
    module = JointModule(members, optimizer)
    loader = _Joint([PairLoader(m.data, settings.batch_size, m.seed) for m in members])
    if len(counts := {len(each) for each in loader.loaders}) > 1:
        raise ConfigError("trainings that share a pass need equally many batches", got=f"{sorted(counts)} per epoch")
    epochs = settings.max_steps * settings.accumulate // len(loader) + 2  # never reached: max_steps ends the run
    with quiet(), interruptible():
        device = members[0].ready.engine.view.device
        trainer = trainer_of(device, settings, None, False, None, (), epochs)
        trainer.fit(module, train_dataloaders=loader)
    for member in members:  # not the module's set: each member has a set of its own around the same interventions
        member.interventions.eval()
    if trainer.interrupted:
        raise KeyboardInterrupt
    return int(trainer.global_step)


@final
class JointModule(pl.LightningModule):
    """`InterventionModule` for several interventions that share the model's passes.

    Args:
        members: the trainings.
        optimizer: how; gradients are clipped member by member.
    """

    def __init__(self, members: Sequence[Member], optimizer: Optimizer) -> None:
        super().__init__()
        self._members, self.optimizer_spec = tuple(members), optimizer
        self._together = Together([m.ready for m in members])
        sets = [m.interventions for m in members]
        self.interventions = InterventionSet([entry for s in sets for entry in zip(s.placements, s, strict=True)])
        for placed in (self.interventions, *sets):
            placed.train()
        self._counted = [0] * len(members)

    def training_step(self, batches: Sequence[PairBatch], batch_idx: int) -> torch.Tensor:
        """Sum of the members' losses, each summed over what it counts."""
        steps = int(self.trainer.estimated_stepping_batches)
        progress = min(1.0, self.global_step / max(1, steps))
        batches = [with_factors(m.objective, b) for m, b in zip(self._members, batches, strict=True)]
        streams = [Stream(seed_of_step(m.seed, self.global_step, batch_idx)) for m in self._members]
        found = losses_of(
            [m.objective for m in self._members], self._together, batches, [m.interventions for m in self._members],
            progress, [s.inside for s in streams],
        )  # fmt: skip
        total = torch.zeros((), device=self.device)
        for i, (member, (loss, reported)) in enumerate(zip(self._members, found, strict=True)):
            own = sum(reported.penalties(member.interventions.order).values(), start=loss.total)
            refuse_non_finite(own, f"loss of training {i}", self.global_step)
            self._counted[i] += loss.count
            total = total + own * loss.count
        return total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Every member's gradient becomes that of its mean, tangent to its manifold."""
        for i, member in enumerate(self._members):
            share = self.trainer.accumulate_grad_batches / max(1, self._counted[i])
            finish_gradient(member.interventions, share, self.global_step)
            self._counted[i] = 0

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """The norm is each member's own."""
        if self.optimizer_spec.clip:
            for member in self._members:
                torch.nn.utils.clip_grad_norm_(member.interventions.parameters(), self.optimizer_spec.clip)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then return to the manifold."""
        super().optimizer_step(*args, **kwargs)
        self.interventions.retract()

    def configure_optimizers(self) -> dict[str, Any]:
        """One optimiser for all, whose arithmetic is elementwise."""
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer, schedule = self.optimizer_spec.build(self.interventions, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(
        self, batch: Sequence[PairBatch], device: torch.device, dataloader_idx: int
    ) -> list[PairBatch]:
        """All of them."""
        return [b.to(device) for b in batch]


@final
class _Joint:
    """One batch of every loader at a time."""

    def __init__(self, loaders: Sequence[PairLoader]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return len(self.loaders[0])

    def __iter__(self) -> Iterator[list[PairBatch]]:
        return map(list, zip(*self.loaders, strict=True))
