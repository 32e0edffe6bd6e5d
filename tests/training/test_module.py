"""What one optimiser step minimises, and with what: penalties, accumulation, progress, clipping, rates, randomness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from das.batch import PairBatch
from das.context import Context
from das.edits.base import Edit, EditResult
from das.featurizers.rotation import Rotation
from das.gates.base import Gate
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet
from das.objectives.base import Loss, Needs
from das.outputs import Outputs
from das.part import Grouped, ParamGroup
from das.training.module import InterventionModule
from das.training.optim import AdamW
from das.types import Site
from tests.contracts.test_objectives import batch_of
from tests.training.test_planted_cdas import Batches

WIDTH = 4


@final
class Free(Edit):
    """z' = value, learned; reports a penalty of 0.5 |value|^2."""

    def __init__(self, weight: float = 0.0, noise: bool = False) -> None:
        super().__init__()
        self.value, self.weight, self.noise = nn.Parameter(torch.ones(1)), weight, noise

    def forward(self, z: Any, h: Any, sources: Mapping[str, Any], ctx: Context) -> EditResult:
        value = self.value + torch.randn(1) if self.noise else self.value
        return value.expand_as(z), {"penalty/size": self.weight * self.value.square().sum() / 2}

    def params(self) -> dict[str, Any]:
        return {"weight": self.weight, "noise": self.noise}


@final
class Fast(Gate, Grouped):
    """A learned share that wants ten times the rate and no decay."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.ones(1))

    def forward(self, z: Any, h: Any, ctx: Context) -> tuple[Any, dict]:
        return self.share.expand_as(z), {}

    def groups(self) -> list[ParamGroup]:
        return [ParamGroup([self.share], lr_scale=10.0, decay=False)]

    def params(self) -> dict[str, Any]:
        return {}


def made(*args: Any, gate: Gate | None = None) -> InterventionSet:
    return InterventionSet([(Site(0), Intervention(Rotation(WIDTH, 1), Free(*args), gate))])


class Values:
    """A runner whose logits are the learned value, and which remembers what it was told."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.seen: list[float] = []

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float) -> Outputs:
        self.progress.append(progress)
        h = torch.zeros(len(batch), 1, WIDTH)
        edited = interventions[0](h, {}, Context(progress=progress))
        value = interventions[0].edit.value
        self.seen.append(float(edited.activation.detach().norm()))
        return Outputs(value.expand(len(batch), 1, 1), aux=(edited.aux,))


class Pull:
    """Mean over rows of value * row number: its gradient is the mean row number."""

    needs = Needs()

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        values = outputs.logits[:, 0, 0] * batch.rows.float()
        return Loss(values.mean(), len(batch))


def run(interventions: InterventionSet, batches: list[PairBatch], optimizer: AdamW, steps: int, **more: Any) -> Values:
    runner = Values()
    seed = more.pop("seed", 0)
    module = InterventionModule(interventions, runner, Pull(), optimizer, seed)

    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=optimizer.clip or None, **more,
    )  # fmt: skip
    trainer.fit(module, datamodule=Batches(batches))
    return runner


def rows(*numbers: int) -> PairBatch:
    return replace(batch_of(torch.ones(len(numbers), 1, dtype=torch.bool)), rows=torch.tensor(numbers))


SGD_LIKE = AdamW(lr=0.1, betas=(0.0, 0.0), schedule="constant", clip=0.0)


class Gradients(pl.Callback):
    """Keeps what each step's gradient was."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.found.append(float(module.interventions[0].edit.value.grad))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_accumulated_batches_are_averaged_over_what_they_count(accumulate):
    seen = Gradients()
    batches = [rows(1, 2, 3, 4, 5, 6), rows(8, 10)] if accumulate == 2 else [rows(1, 2, 3, 4, 5, 6, 8, 10)]
    run(made(), batches, SGD_LIKE, 1, accumulate_grad_batches=accumulate, callbacks=[seen])
    assert seen.found[-1] == pytest.approx(39 / 8)


def test_penalties_are_minimised_too():
    seen = Gradients()
    run(made(3.0), [rows(0, 0)], SGD_LIKE, 1, callbacks=[seen])
    assert seen.found[-1] == pytest.approx(3.0)
    twice = InterventionSet([(Site(0), made(3.0)[0]), (Site(1), made(2.0)[0])])
    aux = tuple(x(torch.zeros(1, 1, WIDTH)).aux for x in twice)
    outputs = Outputs(torch.zeros(1, 1, 1), aux=aux)
    assert float(outputs.penalties(range(len(aux)))["size"].detach()) == pytest.approx(2.5)


def test_progress_rises_and_stays_below_one():
    runner = run(made(), [rows(1)] * 5, SGD_LIKE, 5)
    assert runner.progress == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def test_gradients_are_clipped():
    seen = Gradients()
    run(made(), [rows(100)], replace(SGD_LIKE, clip=1.0), 1, callbacks=[seen])
    assert seen.found[-1] == pytest.approx(1.0)


def test_rates_and_decay_by_part():
    interventions = made(gate=Fast())
    optimizer, _ = AdamW(lr=0.1, weight_decay=0.5).build(interventions, 10)
    found = {id(g["params"][0]): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups}
    x = interventions[0]
    assert found[id(x.featurizer.weight)] == (pytest.approx(0.1), 0.0), "a basis lives on a manifold"
    assert found[id(x.edit.value)] == (pytest.approx(0.1), 0.5)
    assert found[id(x.gate.share)] == (pytest.approx(1.0), 0.0), "a part may say how it learns"


def test_schedules_start_and_end_where_they_should():
    optimizer, schedule = AdamW(lr=0.1, warmup=0.2).build(made(), 10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.05) and max(rates) == pytest.approx(0.1) and rates[-1] < 0.02


def test_tied_interventions_are_optimised_once():
    shared = made()[0]
    optimizer, _ = AdamW().build(InterventionSet([(Site(0), shared), (Site(1), shared)]), 10)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 2


def test_randomness_inside_parts_depends_on_seed_and_step_alone():
    def noise(seed: int) -> list[float]:
        torch.manual_seed(torch.seed())
        return run(made(0.0, True), [rows(0)] * 3, SGD_LIKE, 3, seed=seed).seen

    first = noise(1)
    assert first == pytest.approx(noise(1), rel=1e-5) and len(set(first)) == 3
    assert first != pytest.approx(noise(2), rel=1e-2)
