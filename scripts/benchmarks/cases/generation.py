"""Steered against unsteered generation: batch 8, 64 new tokens, clamp of rank 1 at one layer, then at all layers.

The ratio is unsteered / steered time: 1 where steering is free. Uses ../shared/models/stories3M where it is present,
else the tiny model; paired medians.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch

import das
from das.artifacts.model_card import ModelCard
from das.interventions.sets import InterventionSet
from das.methods.das import das as rotation
from das.steering.generate import encoder_for, left_padded
from das.types import Prompt
from scripts.benchmarks.harness import Result, paired

BAR = "<= 1.05 x the time at one layer (ratio >= 0.952), <= 1.10 x at all layers"
ROWS, TOKENS, STEPS = 8, 64, 20
MODEL = Path(__file__).resolve().parents[4] / "shared" / "models" / "stories3M"


def run() -> Result:
    """Assert that a clamp to what is there changes nothing but the time; then time."""
    name = str(MODEL) if MODEL.is_dir() else "tiny"
    model = das.load_model(name)
    encoder = encoder_for(model, None)
    texts = [f"Once upon a time, there was a {word} child named Tim." for word in
             ("kind", "happy", "small", "brave", "young", "shy", "nice", "little")]  # fmt: skip
    rows = left_padded(model, encoder, list(encoder.encode_all([Prompt(text) for text in texts])))
    layers = range(len(model.model.layers))
    one, several = (_timed(model, rows, where) for where in ([len(layers) // 2], list(layers)))
    ratio, iqr = paired(*one)
    medians = [1e3 * statistics.median(times) for times in one]
    notes = {"model": Path(name).name, "all_layers_ratio": paired(*several)[0], "all_layers_iqr": paired(*several)[1]}
    return Result(ratio, iqr, peer_ms=medians[0], das_ms=medians[1], notes=notes)


def _timed(model: Any, rows: Any, layers: list[int]) -> tuple[list[float], list[float]]:
    """Seconds without and with steering, alternately."""
    torch.manual_seed(0)
    width = model.config.hidden_size
    placed = InterventionSet([(das.Site(layer, positions="all"), rotation(width, 1)) for layer in layers]).frozen()
    subspace = das.Subspace(placed, ModelCard.of(model), (None,) * len(layers))
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(STEPS + 2):
        for steered, kept in zip((False, True), times, strict=True):
            began = time.perf_counter()
            _generate(model, rows, subspace if steered else None)
            if i >= 2:
                kept.append(time.perf_counter() - began)
    return times


def _generate(model: Any, rows: Any, subspace: Any) -> None:
    settings = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
    if subspace is None:
        model.generate(**rows, **settings)
        return
    with das.steer(model, subspace, value=[0.1]):
        model.generate(**rows, **settings)
