"""The loaders of a run, with the state of the training one in every checkpoint.

Lightning saves a loader's state itself, but does not load it where it believes that an epoch had ended: a run resumed
at an epoch's end and killed again in the next one would start that epoch anew. A datamodule's state is always loaded.
In that case Lightning also counts one epoch too few, so give a Trainer `max_steps` rather than `max_epochs`.
"""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningDataModule

from das.data.loader import PairLoader


class PairDataModule(LightningDataModule):
    """Training, validation and test loaders.

    Args:
        train: resumed exactly where the checkpoint was taken.
        val: or None.
        test: or None.
    """

    def __init__(self, train: PairLoader, val: PairLoader | None = None, test: PairLoader | None = None) -> None:
        super().__init__()
        self.train, self.val, self.test = train, val, test

    def train_dataloader(self) -> PairLoader:
        """The training loader."""
        return self.train

    def val_dataloader(self) -> PairLoader | list[PairLoader]:
        """The validation loader; an empty list turns validation off."""
        return [] if self.val is None else self.val

    def test_dataloader(self) -> PairLoader | list[PairLoader]:
        """The test loader."""
        return [] if self.test is None else self.test

    def state_dict(self) -> dict[str, Any]:
        """The training loader's state."""
        return self.train.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the training loader; ConfigError if its batches would differ."""
        self.train.load_state_dict(state_dict)
