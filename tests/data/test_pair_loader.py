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

    def validation_step(self, batch):
        pass

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


def fit(tmp_path, loader, val=None, callbacks=(), ckpt_path=None, module_only=False, **trainer_args):
    module = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, default_root_dir=tmp_path, callbacks=list(callbacks), **trainer_args,
    )  # fmt: skip
    if module_only:
        trainer.fit(module, loader, val, ckpt_path=ckpt_path)
    else:
        trainer.fit(module, datamodule=PairDataModule(loader, val), ckpt_path=ckpt_path)
    return module.seen


CHECKPOINTS = {
    "step": {"every_n_train_steps": 1},
    "epoch": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
    "validation": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
}
BY_EPOCHS, BY_STEPS = {"max_epochs": 4}, {"max_steps": 12, "max_epochs": -1}
CASES = [
    pytest.param((when, validate, limit, {}), id=f"{when}-{'val' if validate else 'noval'}-{next(iter(limit))}")
    for when in CHECKPOINTS
    for validate in (False, True)
    for limit in (BY_EPOCHS, BY_STEPS)
    if validate or when != "validation"
]
CASES += [
    pytest.param(("validation", True, BY_EPOCHS, {"val_check_interval": 2}), id="validation-mid-epoch"),
    pytest.param(("validation", True, BY_STEPS, {"val_check_interval": 2}), id="validation-mid-epoch-steps"),
    pytest.param(("step", False, BY_EPOCHS, {"accumulate_grad_batches": 2}), id="accumulate"),
]


def saved_steps(folder):
    return {int(p.stem.removeprefix("step=")): p for p in folder.glob("*.ckpt")}


def step_limited(case):
    return case[2] is BY_STEPS


def run(data, folder, case, callbacks=(), **kwargs):
    _, validate, limit, more = case
    val = PairLoader(data, 8, shuffle=False) if validate else None
    return fit(folder, PairLoader(data, 4, seed=1), val, callbacks, **kwargs, **limit, **more)


def kill_and_resume(data, folder, case, step, until, **kwargs):
    """Start from the checkpoint of `step`, be killed before step `until`, return the last checkpoint's step."""
    saver = ModelCheckpoint(dirpath=folder, save_top_k=-1, filename="{step}", **CHECKPOINTS[case[0]])
    with pytest.raises(KilledError):
        run(data, folder, case, [saver, KillAfter(until)], ckpt_path=saved_steps(folder).get(step), **kwargs)
    return max(saved_steps(folder), default=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [c for c in CASES if "accumulate" not in c.id])
def test_a_run_killed_again_and_again_sees_what_an_uninterrupted_one_sees(data, tmp_path, case):
    """Each time resumed from the last checkpoint: mid-epoch, at an epoch's end, after validation.

    With max_epochs, Lightning miscounts after a kill, a resume and a kill around an epoch's end: it appends an epoch.
    """
    full = run(data, tmp_path, case, enable_checkpointing=False)
    loader = PairLoader(data, 4, seed=1)
    assert [r for _, r in full] == [b.rows.tolist() for _ in range(4) for b in loader]
    end = full[-1][0]
    for every in (1, 2, 3, 4, 5):
        folder, step = tmp_path / f"every{every}", 0
        while step + every <= end:
            last, step = step, kill_and_resume(data, folder, case, step, step + every)
            seen = run(data, folder, case, enable_checkpointing=False, ckpt_path=saved_steps(folder).get(step))
            start = next(i for i, (s, _) in enumerate(full) if s == step)
            assert step_limited(case) <= (len(seen) == len(full) - start)
            assert seen[: len(full) - start] == full[start:], (
                f"killed after every {every} steps, resumed from step {step}"
            )
            if step == last:
                break


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_the_loader_alone_survives_one_kill(data, tmp_path, case):
    """Without the datamodule, by Lightning's own treatment of stateful loaders."""
    full = run(data, tmp_path, case, enable_checkpointing=False, module_only=True)
    for until in range(1, full[-1][0]):
        folder = tmp_path / f"until{until}"
        step = kill_and_resume(data, folder, case, 0, until, module_only=True)
        ckpt = saved_steps(folder).get(step)
        seen = run(data, folder, case, enable_checkpointing=False, ckpt_path=ckpt, module_only=True)
        start = next(i for i, (s, _) in enumerate(full) if s == step)
        assert seen == full[start:], f"killed at {until}, resumed from step {step}"


def test_lightning_tells_the_epoch_only_to_a_loader_without_state(data):
    loader = PairLoader(data, 4, seed=1)
    epochs = [rows(loader) for _ in range(3)]
    loader.batch_sampler.sampler.set_epoch(1)
    assert rows(loader) == epochs[1]
    loader.load_state_dict({**loader.state_dict(), "epoch": 2, "cursor": 1})
    loader.batch_sampler.sampler.set_epoch(1)
    assert rows(loader) == epochs[2][1:]
