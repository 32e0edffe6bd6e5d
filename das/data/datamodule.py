"""The training loader of a run, with its state in every checkpoint.

Lightning saves a loader's state itself, but does not load it where it believes that an epoch had ended: a run resumed
at an epoch's end and killed again in the next one would start that epoch anew. A datamodule's state is always loaded.
In that case Lightning also counts one epoch too few, so give a Trainer `max_steps` rather than `max_epochs`.
"""

from __future__ import annotations

from typing import Any, final

import torch
from pytorch_lightning import LightningDataModule

from das.batch import PairBatch
from das.data.loader import PairLoader


@final
class PairDataModule(LightningDataModule):
    """The training loader, resumed exactly where the checkpoint was taken."""

    def __init__(self, train: PairLoader) -> None:
        super().__init__()
        self.train = train

    def train_dataloader(self) -> PairLoader:
        """The training loader, of this process's share of the rows."""
        if self.trainer is not None:
            self.train.share(self.trainer.global_rank, self.trainer.world_size)
        return self.train

    def transfer_batch_to_device(self, batch: PairBatch, device: torch.device, dataloader_idx: int) -> PairBatch:
        """Batches are our own dataclass, which Lightning cannot take apart."""
        return batch.to(device)

    def state_dict(self) -> dict[str, Any]:
        """The training loader's state."""
        return self.train.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the training loader; ConfigError if its batches would differ."""
        self.train.load_state_dict(state_dict)
