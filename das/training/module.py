"""The LightningModule. It owns the interventions and nothing else: the frozen model lives in the engine, which is held
outside of torch's module tree, so checkpoints stay small and Lightning never moves, saves or trains the model.
"""

from __future__ import annotations

from typing import Any, Protocol, final, runtime_checkable

import pytorch_lightning as pl
import torch

from das.batch import Outputs, PairBatch
from das.errors import NonFiniteLossError
from das.interventions.sets import InterventionSet
from das.objectives.base import Objective
from das.training.optim import AdamW


@runtime_checkable
class Runner(Protocol):
    """Runs interventions on a batch: `das.engine.tiers.Prepared` for language models, a few lines for anything else."""

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float) -> Outputs:
        """Intervened (and target) logits at the label positions, with gradients to the interventions."""
        ...


@final
class InterventionModule(pl.LightningModule):
    """Trains an intervention set under an objective.

    Args:
        interventions: what is learned.
        train: runs them, usually an engine prepared on the training data.
        objective: what is minimised.
        optimizer: how.

    Raises:
        NonFiniteLossError: loss or gradient is NaN or infinite; the step is not taken, so parameters stay at their last
            good values.
    """

    def __init__(
        self,
        interventions: InterventionSet,
        train: Runner,
        objective: Objective,
        optimizer: AdamW,
    ) -> None:
        super().__init__()
        self.interventions = interventions
        self._train = train
        self.objective, self.optimizer_spec = objective, optimizer

    @property
    def progress(self) -> float:
        """Share of the optimiser steps taken."""
        return min(1.0, self.global_step / max(1, self.total_steps))

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return int(self.trainer.estimated_stepping_batches)

    def training_step(self, batch: PairBatch, batch_idx: int) -> torch.Tensor:
        """Loss of one batch."""
        loss = self.objective(self._train.outputs(batch, self.interventions, self.progress), batch)
        self._refuse_non_finite(loss.total, "loss")
        for name, value in loss.parts.items():
            self.log(f"train/{name}", value, batch_size=loss.tokens)
        self.log("train/loss", loss.total.detach(), prog_bar=True, batch_size=loss.tokens)
        return loss.total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse a step with a broken gradient; keep the rest tangent to the manifold (before clipping)."""
        for name, parameter in self.interventions.named_parameters():
            if parameter.grad is not None:
                self._refuse_non_finite(parameter.grad, f"gradient of {name}")
        self.interventions.project_gradient()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then return to the manifold."""
        super().optimizer_step(*args, **kwargs)
        self.interventions.retract()

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW and its per-step schedule."""
        optimizer, schedule = self.optimizer_spec.build(self.interventions, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: PairBatch, device: torch.device, dataloader_idx: int) -> PairBatch:
        """Batches are our own dataclass."""
        return batch.to(device)

    def _refuse_non_finite(self, value: torch.Tensor, what: str) -> None:
        if not bool(torch.isfinite(value).all()):
            raise NonFiniteLossError(
                f"the {what} is not finite at step {self.global_step}",
                got=str(value.detach().item()) if value.numel() == 1 else "NaN or infinity",
                remedy="lower optimizer.lr, or load the model in float32 or bfloat16; the last good state was kept",
            )
