"""Batches in a deterministic, resumable order: a function of (seed, epoch) alone.

Its state travels in the checkpoint through `das.data.datamodule`. Lightning 2.6 restarts in several ways, all tested:
inside an epoch it finishes the pass; after a checkpoint at an epoch's end it may call `iter` twice, or run one batch,
call that an epoch and begin the next pass. So a pass decides where it starts when its first batch is asked for. A
checkpoint taken inside a training step (on an exception) counts the batch in flight as given.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, final

from das.batch import PairBatch
from das.data.dataset import PairDataset
from das.errors import ConfigError


@final
class PairLoader:
    """An iterable of batches; each pass over it is one epoch, in its own order.

    Args:
        dataset: its groups (rows that belong together) are never split.
        batch_size: groups per batch.
        seed: of the order.
        shuffle: permute the groups, anew in each epoch.
        drop_last: leave out a last batch that is not full.
        rank: which of `world` equal shares of the groups to give; shares are made equal by repeating groups, or
            with `drop_last` by leaving some out.
        world: number of shares.

    Raises:
        ConfigError: if no batch is left.
    """

    def __init__(
        self,
        dataset: PairDataset,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        assert batch_size > 0 and 0 <= rank < world
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.shuffle, self.drop_last, self.rank, self.world = shuffle, drop_last, rank, world
        self._epoch, self._cursor = 0, 0
        self._resumed = self._cut = False
        if len(self) == 0:
            raise ConfigError(
                "no batch is left after dropping the last",
                got=f"{len(dataset)} rows in groups of {dataset.group}, {batch_size} groups a batch, {world} processes",
                remedy="use drop_last=False or a smaller batch_size",
            )

    def share(self, rank: int, world: int) -> None:
        """Give this process its part from now on, where it is not known before processes start."""
        assert 0 <= rank < world
        self.rank, self.world = rank, world

    @property
    def epoch(self) -> int:
        """The epoch of the current or last pass, from 0."""
        return self._epoch

    def __len__(self) -> int:
        groups = len(self._share(list(range(len(self.dataset) // self.dataset.group))))
        return groups // self.batch_size if self.drop_last else -(-groups // self.batch_size)

    def __iter__(self) -> Iterator[PairBatch]:
        self._begin()
        groups, size = self._order(), self.dataset.group
        for number in range(self._cursor, len(self)):
            chosen = groups[number * self.batch_size : (number + 1) * self.batch_size]
            self._cursor = number + 1
            rows = [group * size + row for group in chosen for row in range(size)]
            yield self.dataset.collate(rows, draws=f"{self.seed}/{self._epoch}")

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass epoch `epoch`, from its first batch."""
        self._epoch, self._cursor = epoch, 0
        self._resumed = self._cut = False

    def state_dict(self) -> dict[str, Any]:
        """Epoch, number of batches given in it, and what the order depends on; the same on every rank."""
        return {"epoch": self._epoch, "cursor": self._cursor, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next pass go on where `state` was taken; ConfigError if it comes from another order of batches."""
        if (saved := {name: state.get(name) for name in self._identity()}) != self._identity():
            raise ConfigError(
                "this run cannot be resumed: its batches would differ from those already seen",
                got=f"{self._identity()}, saved {saved}",
                remedy="resume with the data, batch size, seed and number of processes the run was started with",
            )
        self._epoch, self._cursor = int(state["epoch"]), int(state["cursor"])
        self._resumed = True

    def _begin(self) -> None:
        """Decide where this pass starts: the next epoch, unless the current one is being resumed."""
        done = self._cursor >= len(self)
        if done or (self._cursor > 0 and not self._resumed and not self._cut):
            self._epoch, self._cursor = self._epoch + 1, 0
        # The pass after a restart at an epoch's end may be cut short; the next one then goes on with it.
        self._resumed, self._cut = False, self._resumed and done

    def _identity(self) -> dict[str, Any]:
        names = ("batch_size", "seed", "shuffle", "drop_last", "world")
        return {"rows": len(self.dataset), **{name: getattr(self, name) for name in names}}

    def _order(self) -> list[int]:
        groups = list(range(len(self.dataset) // self.dataset.group))
        if self.shuffle:
            random.Random(f"das {self.seed} {self._epoch}").shuffle(groups)
        return self._share(groups)

    def _share(self, groups: list[int]) -> list[int]:
        if self.drop_last:
            groups = groups[: len(groups) // self.world * self.world]
        else:
            missing = -len(groups) % self.world
            groups = groups + (groups * missing)[:missing]
        return groups[self.rank :: self.world]
