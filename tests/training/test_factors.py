"""Factors against activations that transformers itself hands out, at the positions every form of the grammar means."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from das.methods.das import das
from das.methods.mdas import mdas
from das.methods.reft_r1 import reft_r1
from das.models.load import load_model
from das.objectives.jsd import JSD
from das.tasks.name_gender import NameGender
from das.training.factors import factors_of
from das.training.problem import DataSettings, Problem
from das.training.settings import FitSettings
from das.types import Site
from tests.toy import save_toy_model

DATA = DataSettings(n_contrast=6, response_tokens=3)
#: Positions -> the tokens they mean in a text whose first n are "<s> Once upon a time, there was a ADJECTIVE child
#: named NAME. NAME loved ...": the prompt. What follows is its response.
MEANT = {
    "last": lambda ids, n: [n - 1],
    "first": lambda ids, n: [1],
    "prompt": lambda ids, n: range(1, n),
    "all": lambda ids, n: range(1, len(ids)),
    "generated": lambda ids, n: range(n, len(ids)),
    "from:4": lambda ids, n: range(4, len(ids)),
    "index:3": lambda ids, n: [3],
    "index:-2": lambda ids, n: [n - 2],
    "f2+l1": lambda ids, n: [1, 2, n - 1],
    "template:child": lambda ids, n: [10],
    "span:name": lambda ids, n: [12, 14],
    "span:name:last": lambda ids, n: [12, 14],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


@torch.no_grad()
def states(model, problem: Problem, positive: bool, positions: str) -> list[torch.Tensor]:
    """Layer 1 at the positions meant, (P, width) per prompt."""
    task, rows = problem.task, []
    if positions.split(":")[0] in ("all", "generated", "from"):
        for w in problem.contrasts("train"):
            rows.append((w.contrast.positive, w.positive_ids) if positive else (w.contrast.negative, w.negative_ids))
    else:
        wanted = task.positive if positive else task.negative
        rows = [(p, ()) for p, label in task.prompts("train", 2 * DATA.n_contrast, 0) if label == wanted]
    found = []
    for prompt, response in rows:
        start = problem.tokenizer(prompt.text)["input_ids"]
        ids = [*start, *response]
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0]
        found.append(hidden[list(MEANT[positions](ids, len(start)))])
    return found


@pytest.mark.parametrize("positions", MEANT)
def test_read_where_the_site_says(model, positions):
    problem = Problem(model, NameGender(), data=DATA)
    recipe = FitSettings().recipe(partial(das, rank=2), Site(1, positions=positions), False, JSD())
    interventions = recipe.place(problem)
    [found] = factors_of(problem, interventions)
    basis = interventions[0].featurizer.basis.detach()
    positive, negative = ([h @ basis for h in states(model, problem, side, positions)] for side in (True, False))
    assert torch.allclose(found.positive, torch.stack([z.mean(0) for z in positive]).mean(0), atol=1e-5)
    assert torch.allclose(found.negative, torch.stack([z.mean(0) for z in negative]).mean(0), atol=1e-5)
    assert torch.allclose(found.maximum, torch.cat(positive).amax(0).clamp(min=0), atol=1e-5)


@pytest.mark.parametrize(("second", "known"), [("last", True), ("first", False)])
def test_blocks_whose_sources_are_read_at_several_places_have_no_factors(model, second, known, caplog):
    problem, where = Problem(model, NameGender(), data=DATA), {"first": "last", "second": second}
    interventions = FitSettings().recipe(mdas, Site(1, source_positions=where), False, None).place(problem)
    [found] = factors_of(problem, interventions)
    assert (found is not None) == known and ("read at several places" in caplog.text) != known


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_maximum_is_of_rectified_coordinates(model, sign):
    """ReFT-r1's a_max: a direction that is below zero at every token has been seen nowhere."""
    problem = Problem(model, NameGender(), data=DATA)
    interventions = FitSettings().recipe(reft_r1, Site(1, positions="last"), False, JSD()).place(problem)
    read = torch.cat(states(model, problem, True, "last"))
    direction = interventions[0].featurizer
    with torch.no_grad():
        direction.vector.copy_(sign * torch.nn.functional.normalize(torch.linalg.pinv(read).sum(1), dim=0))
    latents = read @ direction.vector.detach()
    assert (latents.sign() == sign).all(), "negative control: all on one side"
    [found] = factors_of(problem, interventions)
    assert float(found.maximum) == pytest.approx(float(latents.relu().max()), abs=1e-5)
