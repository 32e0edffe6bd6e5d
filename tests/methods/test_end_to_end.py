"""Every method from data to steering: fitted, saved, loaded, steered with each of its operations, on a random model.

What a method learns is tested elsewhere; here, that it can be used at all, and that what cannot be done says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

import das
from das.errors import CapabilityError
from das.interventions.base import Intervention
from das.objectives.base import Objective
from das.objectives.counterfactual_ce import CounterfactualCE
from das.objectives.lm_loss import LMLoss
from das.steering.generate import encoder_for, left_padded
from das.tasks.name_gender import NameGender
from das.types import CONCEPT, Concept, Contrast, CounterfactualPair, Prompt
from tests.contracts.groups import made, names
from tests.contracts.test_interventions import build
from tests.toy import save_toy_model

PROMPTS = [p for p, _ in NameGender().prompts("test", 3, 0)]
TEXTS = [p.text for p in PROMPTS]
DESCRIPTION = Prompt("a child who is a girl")
SITE = das.Site(0, positions="span:name")
#: Settings that make an estimator faster, or content with a model that knows nothing.
SETTINGS = {"rlace": {"steps": 20, "every": 20}, "directional_ablation": {"min_induced": -99.0, "max_kl": 99.0}}
QUICK = das.FitSettings(
    das.DataSettings(n_train=8, n_val=4, n_test=6, n_contrast=6, response_tokens=2), das.AdamW(lr=0.01),
    das.TrainerSettings(max_steps=1, batch_size=4, tier="hooks", progress=False), das.ControlSettings(names=()),
)  # fmt: skip


class Several(NameGender):
    """The task with as many sources as a method reads: the first is the pair's own, the others are the base.

    A concept is described in the same words everywhere.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        super().__init__()
        self.sources = sources

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        def sources(p: CounterfactualPair) -> dict[str, Prompt]:
            known = {self.sources[0]: p.sources["source"], CONCEPT: DESCRIPTION}
            return {name: known.get(name, p.base) for name in self.sources}

        return [replace(p, sources=sources(p), target=self.sources[0]) for p in super().pairs(split, n, seed)]

    def contrasts(self, split: str, n: int, seed: int) -> list[Contrast]:
        concept = Concept("gender", DESCRIPTION) if CONCEPT in self.sources else None
        return [replace(c, concept=concept) for c in super().contrasts(split, n, seed)]


def suited(method: Intervention) -> tuple[NameGender, Objective]:
    """A task with the method's sources, and an objective that can teach it something."""
    task = Several(method.sources) if method.sources else NameGender()
    return task, CounterfactualCE() if method.edit.sources else LMLoss()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return das.load_model(str(save_toy_model(tmp_path_factory.mktemp("toy"))))


@pytest.mark.parametrize("name", names("intervention"))
def test_what_is_fitted_can_be_saved_loaded_and_steered_with(name, model, tmp_path):
    task, objective = suited(built := build(name))
    told = {"concept": DESCRIPTION} if CONCEPT in built.sources else {}
    method = made("intervention", name, **SETTINGS.get(name, {}))
    fit = das.fit(model, task, method, SITE, objective=objective, settings=QUICK)
    subspace = das.Subspace.load(fit.subspace.save(tmp_path / "subspace"), model)
    encoder = encoder_for(model, None)
    rows = left_padded(model, encoder, list(encoder.encode_all(PROMPTS)))
    plain, found = logits(model, rows), {}
    default, *others = subspace.interventions[0].operations
    for op, factor in [(default, 1.0), (default, -1.0), *((op, 1.0) for op in others)]:
        try:
            with das.steer(model, subspace, factor, op=op, prompts=TEXTS, **told):
                found[op, factor] = logits(model, rows)
        except CapabilityError as error:
            assert error.remedy, "what cannot be done says what can"
    assert found, "a method that cannot be steered at all"
    for how, steered in found.items():
        assert torch.isfinite(steered).all() and not torch.allclose(steered, plain, atol=1e-4), how
    if len(both := [x for (op, _), x in found.items() if op == default]) == 2:
        assert not torch.allclose(*both, atol=1e-4), "the factor is ignored"
    assert torch.equal(logits(model, rows), plain)


@torch.no_grad()
def logits(model: torch.nn.Module, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(**rows).logits[:, -1]
