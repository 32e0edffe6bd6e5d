"""Logits of stored head inputs: by the head alone where the model makes nothing of its output, else by all of it."""

from __future__ import annotations

from threading import Thread

import pytest
import torch

from das.engine import resume
from das.engine.hooks import replaced_input
from das.engine.resume import head_logits
from das.models.families import ModelView
from tests.families import FAMILIES, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_alone_is_used_exactly_where_that_is_the_same(family: str) -> None:
    view = ModelView(tiny_model(family))
    hidden = torch.randn(2, 3, view.width)
    assert torch.equal(head_logits(view, hidden), resume._whole_head(view, hidden))
    config = view.model.config
    scaled = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_scaling", 1) != 1
    assert resume._PLAIN[view] == (not scaled)


def test_soft_caps_are_kept() -> None:
    """At logits that are far beyond the cap."""
    model = tiny_model("gemma2")
    view, cap = ModelView(model), model.config.final_logit_softcapping
    logits = head_logits(view, 1e3 * torch.randn(2, 3, view.width))
    assert cap and logits.abs().max() <= cap and not resume._PLAIN[view]


def test_the_head_waits_for_forwards_that_hook_it() -> None:
    """Another thread's forward replaces the head's input meanwhile."""
    view = ModelView(tiny_model("llama-gqa"))
    hidden = torch.randn(2, 3, view.width)
    wanted, found = head_logits(view, hidden), []
    with resume.LOCK, replaced_input(view.head, lambda h: h[:, :1]):
        other = Thread(target=lambda: found.append(head_logits(view, hidden)))
        other.start()
        other.join(0.2)
        assert other.is_alive() and not found
    other.join()
    torch.testing.assert_close(found[0], wanted)
