"""Steered against unsteered generation: batch 8, 64 new tokens, clamp of rank 1 at one layer, then at all layers.

The ratio is unsteered / steered time: 1 where steering is free. Uses ../shared/models/stories3M where it is present,
else the tiny model; paired medians. Starting to steer is timed apart: it happens once for any number of generations.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch

import das
from das.artifacts.model_card import ModelCard
from das.interventions.sets import InterventionSet
from das.methods.das import das as rotation
from das.steering.generate import encoder_for, left_padded
from das.steering.hub import unsteered
from das.types import Prompt
from scripts.benchmarks.harness import Result, paired
from scripts.benchmarks.setting import timed

BAR = "<= 1.05 x the time at one layer (ratio >= 0.952), <= 1.10 x at all layers"
ROWS, TOKENS, STEPS = 8, 64, 20
MODEL = Path(__file__).resolve().parents[4] / "shared" / "models" / "stories3M"


def run() -> Result:
    """Assert that steering does what plain hooks do; then time."""
    name = str(MODEL) if MODEL.is_dir() else "tiny"
    model = das.load_model(name)
    encoder = encoder_for(model, None)
    texts = [f"Once upon a time, there was a {word} child named Tim." for word in
             ("kind", "happy", "small", "brave", "young", "shy", "nice", "little")]  # fmt: skip
    rows = left_padded(model, encoder, list(encoder.encode_all([Prompt(text) for text in texts])))
    layers = range(len(model.model.layers))
    (one, start), (several, starts) = (_timed(model, rows, where) for where in ([len(layers) // 2], list(layers)))
    ratio, iqr = paired(*one)
    medians = [1e3 * statistics.median(times) for times in one]
    notes = {"model": Path(name).name, "all_layers_ratio": paired(*several)[0], "all_layers_iqr": paired(*several)[1],
             "start_ms": 1e3 * start, "all_layers_start_ms": 1e3 * starts}  # fmt: skip
    return Result(ratio, iqr, peer_ms=medians[0], das_ms=medians[1], notes=notes)


def _timed(model: Any, rows: Any, layers: list[int]) -> tuple[tuple[list[float], list[float]], float]:
    """Seconds without and with steering, alternately; and of starting to steer."""
    torch.manual_seed(0)
    width = model.config.hidden_size
    placed = InterventionSet([(das.Site(layer, positions="from:0"), rotation(width, 1)) for layer in layers]).frozen()
    subspace = das.Subspace(placed, ModelCard.of(model), (None,) * len(layers))
    times: tuple[list[float], list[float]] = ([], [])
    das.steer(model, subspace, value=[0.1]).remove()
    starting, steering = timed(lambda: das.steer(model, subspace, value=[0.1]))
    with steering:
        _check(model, rows, placed)
        for i in range(STEPS + 2):
            for steered, kept in zip((False, True), times, strict=True):
                with nullcontext() if steered else unsteered(model):
                    seconds, _ = timed(lambda: _generate(model, rows))
                if i >= 2:
                    kept.append(seconds)
    return times, starting


@torch.no_grad()
def _check(model: Any, rows: Any, placed: InterventionSet) -> None:
    """The steered forward is the one that plain hooks make of the same formula, and not the unsteered one."""
    steered = model(**rows).logits
    with unsteered(model), ExitStack() as stack:
        plain = model(**rows).logits
        for placement, x in zip(placed.placements, placed, strict=True):
            r = x.featurizer.weight[:, 0]
            hook = lambda _, __, h, r=r: h + (0.1 - h @ r)[..., None] * r  # noqa: E731
            stack.callback(model.model.layers[placement.write.layer].register_forward_hook(hook).remove)
        hooked = model(**rows).logits
    steered, hooked, plain = (x[rows["attention_mask"].bool()] for x in (steered, hooked, plain))
    assert torch.allclose(steered, hooked, atol=1e-4) and not torch.allclose(steered, plain, atol=1e-2)


def _generate(model: Any, rows: Any) -> None:
    model.generate(**rows, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
