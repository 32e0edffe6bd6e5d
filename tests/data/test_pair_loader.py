from __future__ import annotations

import warnings
from itertools import chain

import pytest
import torch

from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.data.loader import PairLoader
from das.errors import ConfigError
from das.types import Contrast, CounterfactualPair, Prompt

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint

    from das.data.datamodule import PairDataModule


@pytest.fixture(scope="module")
def data(tokenizer):
    """11 rows, groups of 1."""
    texts = [f"Tim saw {i}" for i in range(11)]
    pairs = [CounterfactualPair(Prompt(t), {"source": Prompt(t)}, " he", " she") for t in texts]
    return PairDataset(pairs, Encoder(tokenizer), [("last", {"source": "last"})])


@pytest.fixture(scope="module")
def grouped(tokenizer):
    """14 rows, groups of 2."""
    items = [Contrast(Prompt(f"Say {i}"), Prompt(f"Do say {i}"), "yes", "no") for i in range(7)]
    return PairDataset(items, Encoder(tokenizer), [("last", {"source": "last"})])


def rows(batches):
    return [b.rows.tolist() for b in batches]


def flat(lists):
    return list(chain.from_iterable(lists))


def test_a_pass_gives_every_row_once_and_epochs_differ(data):
    loader = PairLoader(data, 4, seed=1)
    first, second = rows(loader), rows(loader)
    assert [len(b) for b in first] == [4, 4, 3] and len(loader) == 3
    assert sorted(flat(first)) == sorted(flat(second)) == list(range(11))
    assert first != second
    again = PairLoader(data, 4, seed=1)
    assert [rows(again), rows(again)] == [first, second]
    assert rows(PairLoader(data, 4, seed=2)) != first


def test_set_epoch_and_a_broken_off_pass(data):
    loader = PairLoader(data, 4, seed=1)
    epochs = [rows(loader) for _ in range(4)]
    loader.set_epoch(2)
    assert rows(loader) == epochs[2] and loader.epoch == 2
    loader.set_epoch(0)
    next(iter(loader))
    assert rows(loader) == epochs[1], "a pass that was broken off is over"


def test_order_and_drop_last(data):
    assert rows(PairLoader(data, 4, shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    loader = PairLoader(data, 4, shuffle=False, drop_last=True)
    assert rows(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]] and len(loader) == 2
    with pytest.raises(ConfigError, match="11 rows in groups of 1, 12 groups a batch"):
        PairLoader(data, 12, drop_last=True)


def test_groups_stay_together(grouped):
    loader = PairLoader(grouped, 3, seed=5)
    batches = rows(loader)
    assert [len(b) for b in batches] == [6, 6, 2]
    assert all(b == a + 1 and a % 2 == 0 for batch in batches for a, b in zip(batch[::2], batch[1::2], strict=True))


@pytest.mark.parametrize("world", [2, 3, 16])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_share_the_rows(data, world, drop_last):
    if drop_last and world == 16:
        pytest.skip("16 processes cannot share 11 rows without repeats")
    ranks = [PairLoader(data, 1, seed=3, drop_last=drop_last, rank=r, world=world) for r in range(world)]
    seen = [flat(rows(r)) for r in ranks]
    assert len({len(s) for s in seen} | {len(r) for r in ranks}) == 1, "equally many batches on every rank"
    if drop_last:
        assert len(set(flat(seen))) == len(flat(seen)) == 11 // world * world
    else:
        assert set(flat(seen)) == set(range(11))
    assert ranks[0].state_dict() == ranks[1].state_dict()


@pytest.mark.parametrize("k", range(10))
def test_state_goes_on_where_it_was_taken(data, k):
    def endless(loader):
        while True:
            yield from loader

    loader = PairLoader(data, 4, seed=1)
    stream = endless(loader)
    for _ in range(k):
        next(stream)
    state = loader.state_dict()
    expected = [next(stream).rows.tolist() for _ in range(7)]
    resumed = PairLoader(data, 4, seed=1)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    stream = endless(resumed)
    assert [next(stream).rows.tolist() for _ in range(7)] == expected


def test_state_of_other_batches_is_refused(data, grouped):
    state = PairLoader(data, 4, seed=1).state_dict()
    for other in (PairLoader(data, 5, seed=1), PairLoader(data, 4, seed=2), PairLoader(grouped, 4, seed=1)):
        with pytest.raises(ConfigError, match=r"cannot be resumed.*saved"):
            other.load_state_dict(state)


# ------------------------------------------------------------------------------------------------ Lightning


class Recorder(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch):
        self.seen.append((self.global_step, batch.rows.tolist()))
        return (self.weight * batch.rows.float().mean()).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class KilledError(Exception):
    pass


class KillAfter(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step >= self.step:
            raise KilledError


def fit(tmp_path, loader, callbacks=(), ckpt_path=None, **trainer_args):
    module = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, callbacks=list(callbacks), max_steps=12, max_epochs=-1, **trainer_args,
    )  # fmt: skip
    trainer.fit(module, datamodule=PairDataModule(loader), ckpt_path=ckpt_path)
    return module.seen


CHECKPOINTS = {
    "step": {"every_n_train_steps": 1},
    "epoch": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
    "accumulate": {"every_n_train_steps": 1},
}


def saved_steps(folder):
    return {int(p.stem.removeprefix("step=")): p for p in folder.glob("*.ckpt")}


def run(data, folder, when, callbacks=(), **kwargs):
    accumulate = 2 if when == "accumulate" else 1
    return fit(folder, PairLoader(data, 4, seed=1), callbacks, accumulate_grad_batches=accumulate, **kwargs)


def kill_and_resume(data, folder, when, step, until):
    """Start from the checkpoint of `step`, be killed before step `until`, return the last checkpoint's step."""
    saver = ModelCheckpoint(dirpath=folder, save_top_k=-1, filename="{step}", **CHECKPOINTS[when])
    with pytest.raises(KilledError):
        run(data, folder, when, [saver, KillAfter(until)], ckpt_path=saved_steps(folder).get(step))
    return max(saved_steps(folder), default=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("when", CHECKPOINTS)
@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_run_killed_again_and_again_sees_what_an_uninterrupted_one_sees(data, tmp_path, when, every):
    """Each time resumed from the last checkpoint: mid-epoch, at an epoch's end, with half a step accumulated."""
    full = run(data, tmp_path, when, enable_checkpointing=False)
    if when != "accumulate":
        loader = PairLoader(data, 4, seed=1)
        assert [r for _, r in full] == [b.rows.tolist() for _ in range(4) for b in loader]
    step, end = 0, full[-1][0]
    while step + every <= end:
        last, step = step, kill_and_resume(data, tmp_path, when, step, step + every)
        seen = run(data, tmp_path, when, enable_checkpointing=False, ckpt_path=saved_steps(tmp_path).get(step))
        start = next(i for i, (s, _) in enumerate(full) if s == step)
        assert seen == full[start:], f"killed after every {every} steps, resumed from step {step}"
        if step == last:
            break


def test_draws_depend_on_seed_epoch_and_row_alone(data):
    def draws(seed: int, epoch: int, size: int) -> dict[int, float]:
        loader = PairLoader(data, size, seed)
        loader.set_epoch(epoch)
        return {int(r): float(d) for b in loader for r, d in zip(b.rows, b.draw, strict=True)}

    known = draws(0, 0, 4)
    assert draws(0, 0, 3) == known and len(set(known.values())) == len(known)
    for other in (draws(0, 1, 4), draws(1, 0, 4)):
        assert all(known[row] != other[row] for row in known)
