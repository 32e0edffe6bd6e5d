"""Models are built once per session; tests only read them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch import nn
from torch.utils.hooks import RemovableHandle

from das.models.sites import BoundSite
from tests.families import tiny_model


@pytest.fixture(scope="session")
def family_model() -> Callable[[str], hf.PreTrainedModel]:
    """Family id -> its shared tiny model. Do not change it."""
    return cache(tiny_model)


@pytest.fixture
def stories(shared_path: Callable[[str], Path]) -> Path:
    """A small trained checkpoint, with a tokenizer."""
    return shared_path("models/stories3M")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny Llama without tokenizer, in fp32."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    tiny_model("llama-gqa").save_pretrained(folder)
    return folder


def _hook(bound: BoundSite, seen: list[torch.Tensor]) -> RemovableHandle:
    def on_input(module: nn.Module, args: tuple, kwargs: dict) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    def on_output(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    if bound.side == "input":
        return bound.module.register_forward_pre_hook(on_input, with_kwargs=True)
    return bound.module.register_forward_hook(on_output)


def _probe(model: nn.Module, ids: torch.Tensor, *bounds: BoundSite) -> list[torch.Tensor]:
    seen: list[list[torch.Tensor]] = [[] for _ in bounds]
    with ExitStack() as stack:
        for bound, into in zip(bounds, seen, strict=True):
            stack.callback(_hook(bound, into).remove)
        with torch.no_grad():
            model(ids, position_ids=torch.arange(ids.shape[1]).expand_as(ids))
    assert all(len(s) == 1 for s in seen), "a hook did not fire exactly once"
    return [s[0] for s in seen]


@pytest.fixture(scope="session")
def probe() -> Callable[..., list[torch.Tensor]]:
    """`probe(model, ids, *bounds)`: the whole activation (all columns) a plain hook sees at bound sites."""
    return _probe
