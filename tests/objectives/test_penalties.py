"""Penalties of parts: sized by a weight in the method's yaml, minimised beside any objective and any sum of them."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from das.context import Context
from das.interventions.sets import InterventionSet
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.jsd import JSD
from das.objectives.weighted_sum import WeightedSum
from das.outputs import Outputs
from das.training.module import InterventionModule
from das.training.optim import AdamW
from das.types import Site
from tests.contracts.groups import made
from tests.contracts.test_objectives import VOCAB, batch_of
from tests.training.test_planted_cdas import Batches

WIDTH = VOCAB
#: Method -> what its penalty is a multiple of, as the parts report it.
SIZES = {"boundless": "boundary", "dbm": "mask_size", "rotated_dbm": "mask_size", "sae": "mask_size"}


def edited(interventions: InterventionSet, progress: float):
    torch.manual_seed(1)
    base, source = torch.randn(2, 4, 3, WIDTH)
    return interventions[0](base, {"source": source}, Context(progress=progress))


@pytest.mark.parametrize("name", SIZES)
def test_the_penalty_is_the_weight_times_the_size(name):
    for weight in (0.0, 0.3, 2.0):
        placed = InterventionSet([(Site(0), made("intervention", name, weight=weight)(width=WIDTH))])
        aux = edited(placed, 0.5).aux
        [(_, penalty)] = Outputs(torch.zeros(1, 1, 1), aux=(aux,)).penalties([0]).items()
        size = float(aux[SIZES[name]].detach())
        assert float(penalty.detach()) == pytest.approx(weight * size) and size > 0


def test_the_latents_penalty_grows_with_progress():
    placed = InterventionSet([(Site(0), made("intervention", "reft_r1", weight=2.0, k=1)(width=WIDTH))])
    sizes = [float(edited(placed, p).aux["penalty/latents"].detach()) for p in (0.0, 0.5, 1.0)]
    rest = edited(placed, 1.0).aux["latents"].detach()[..., 0].sort(dim=1).values[:, :-1]
    assert sizes == pytest.approx([0.0, float(rest.mean()), 2 * float(rest.mean())], rel=1e-5)


class Activations:
    """A model whose logits are the edited activation itself."""

    def outputs(self, batch, interventions, progress) -> Outputs:
        found = edited(interventions, progress)
        return Outputs(found.activation, {"target": torch.zeros(4, 3, VOCAB)}, (found.aux,))


def train(weight: float, steps: int) -> tuple[dict[str, float], InterventionSet]:
    """What is logged, and what is learned, from a weighted sum and a penalty."""
    method = made("intervention", "dbm", weight=weight)(width=WIDTH)
    placed = InterventionSet([(Site(0), method)])
    objective = WeightedSum({"ce": CounterfactualCE("contrasts"), "jsd": JSD()}, {"ce": 0.5, "jsd": 3.0})
    module = InterventionModule(placed, Activations(), objective, AdamW(lr=0.2))
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=Batches([batch_of(torch.ones(4, 3, dtype=torch.bool))]))
    return {k.removeprefix("train/"): float(v) for k, v in trainer.callback_metrics.items()}, placed


def test_the_loss_is_the_weighted_sum_plus_the_penalty():
    logged, _ = train(0.7, 1)
    assert logged["penalty/mask_size"] == pytest.approx(0.7 * WIDTH / 2), "sigmoid(0) = 1/2 per neuron at the start"
    wanted = 0.5 * logged["ce"] + 3.0 * logged["jsd"] + logged["penalty/mask_size"]
    assert logged["loss"] == pytest.approx(wanted, rel=1e-6)


def test_a_heavier_penalty_leaves_fewer_neurons():
    left = [train(weight, 40)[1][0].dimension for weight in (0.0, 5.0)]
    assert left[0] > left[1] == 0


def test_a_part_that_several_sites_share_is_priced_once():
    aux = [{"penalty/mask": torch.tensor(value)} for value in (1.0, 3.0, 5.0)]
    outputs = Outputs(torch.zeros(1, 1, 1), aux=tuple(aux))
    assert float(outputs.penalties([0, 0, 1])["mask"]) == 2.0 + 5.0
    assert float(outputs.penalties([0, 1, 2])["mask"]) == 9.0
