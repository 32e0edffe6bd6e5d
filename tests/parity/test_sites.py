"""Each intervention at each site of a model, positions differing per row: logits and gradients to 1e-4.

das resumes at the site, as training does; pyvene runs the whole model. Both are told the site's true width: pyvene's
own guess comes from the config (see `test_not_reproduced.py`).
"""

from __future__ import annotations

import pytest
import torch

from das.models.families import ModelView
from das.types import Site
from tests.parity.cases import CASES, differentiable, gradients, pair
from tests.parity.runs import (
    COMPONENTS,
    GRADIENT,
    HEADED,
    LAYER,
    LOGITS,
    READ,
    SEVERAL,
    WRITTEN,
    Apart,
    Runs,
    Spot,
    far,
    model,
    prompts,
)


@pytest.mark.parametrize(
    ("family", "component"),
    [(f, c) for f in ("llama-gqa", "gpt2") for c in COMPONENTS] + [("llama-wide-heads", c) for c in HEADED],
)
def test_every_intervention_agrees(family, component):
    compare(family, component, WRITTEN, READ)


@pytest.mark.parametrize("component", ["block_output", "mlp_activation", "head_value_output"])
@pytest.mark.parametrize("family", ["llama-gqa", "gpt2"])
def test_several_positions_share_one_intervention(family, component):
    compare(family, component, *SEVERAL)


def compare(family, component, written, read):
    site = Site(LAYER, component, heads=(1,) if component.startswith("head_") else None)
    runs = Runs(family, (Spot(site, written, read),), prompts(0), {"source": prompts(1)})
    several, width = len(written[0]) > 1, ModelView(model(family)).bind(site).width
    cases = {name: case for name, case in CASES.items() if case.positions or not (site.heads or several)}
    pairs = {name: pair(name, width, several) for name in cases}
    for both in pairs.values():
        for one in both:
            one.zero_grad()
    copies, clean = runs.copies(len(pairs)), runs.clean()
    probe = torch.randn(clean.shape)
    subspaces = [case.per_row(len(written)) for case in cases.values()]
    with differentiable(*(theirs for theirs, _ in pairs.values())):
        wanted = copies.first().theirs([Apart([theirs for theirs, _ in pairs.values()], subspaces)])
        got = copies.ours([ours for _, ours in pairs.values()])
        for name, x, y in zip(cases, wanted.chunk(len(cases)), got.chunk(len(cases)), strict=True):
            assert far(x, clean) > 20 * LOGITS, f"{name} must show"
            assert far(x, y) <= LOGITS, name
        for logits in (wanted, got):
            (logits * probe.repeat(len(cases), 1, 1)).sum().backward()
        for name, case in cases.items():
            for parameter, x, y in gradients(case, *pairs[name]):
                assert far(x, y) <= GRADIENT * float(x.abs().max()), (name, parameter)
