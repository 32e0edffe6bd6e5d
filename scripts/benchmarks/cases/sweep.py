"""A sweep of 8 layers x the last 4 positions x 3 seeds against a loop of pyvene runs, recording included.

pyvene's time is its median step, averaged over the layers, times the number of steps: it shares nothing between runs. A
second setting has positions 16, 32, 48 and 63, with fewer steps, over which the recording has to pay.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import nn

from das.batch import PairBatch
from das.engine.engine import Engine
from das.engine.recording import Recording
from das.interventions.sets import InterventionSet
from das.methods.das import das
from das.sweeping.trials import TOKENS as TOGETHER
from das.types import Site
from scripts.benchmarks.harness import Result, same
from scripts.benchmarks.setting import (
    BATCH,
    LAYERS,
    RANK,
    TOKENS,
    WIDTH,
    AtPosition,
    Ours,
    Pyvene,
    llama,
    low_rank,
    rotation_gradients,
    step_together,
    timed,
)

BAR = ">= 40; >= 6 for positions 16, 32, 48, 63"
SEEDS, STEPS, SPREAD_STEPS, PEER_STEPS = 3, 20, 4, 2


def run() -> Result:
    """Assert equality at the last token of every layer, time the peer, then both settings."""
    model = llama()
    first = AtPosition(TOKENS - 1)
    batch = first.collate(range(BATCH))
    theirs = [Pyvene(model, low_rank(), batch, layer=layer) for layer in range(LAYERS)]
    errors = [same(**rotation_gradients(t, _cells(model, [n], [TOKENS - 1], 1)[0][0])) for n, t in enumerate(theirs)]
    worst = {name: max(e[name] for e in errors) for name in errors[0]}
    seconds: list[list[float]] = [[] for _ in theirs]
    for _ in range(PEER_STEPS):
        for peer, kept in zip(theirs, seconds, strict=True):
            peer.step()
            kept.append(timed(peer.step)[0])
    step = statistics.mean(statistics.median(kept) for kept in seconds)  # a site further up has a shorter backward pass
    late = _ratio(model, range(TOKENS - 4, TOKENS), step, STEPS)
    spread = _ratio(model, (16, 32, 48, 63), step, SPREAD_STEPS)
    notes = {"cells": late[2], "steps_per_cell": STEPS, "das_seconds": round(late[1], 2), "spread_ratio": spread[0],
             "spread_steps_per_cell": SPREAD_STEPS, "spread_seconds": round(spread[1], 2),
             "peer_step_ms": 1e3 * step}  # fmt: skip
    return Result(late[0], notes=notes, **worst)


def _ratio(model: nn.Module, positions: Sequence[int], peer_step: float, steps: int) -> tuple[float, float, int]:
    """Peer's seconds / ours, ours, number of cells."""
    began = time.perf_counter()
    cells, _ = _cells(model, range(LAYERS), positions, SEEDS)
    for group in _groups(cells):
        for _ in range(steps):
            step_together(group)
    ours = time.perf_counter() - began
    return peer_step * steps * len(cells) / ours, ours, len(cells)


def _groups(cells: Sequence[Ours]) -> Iterator[list[Ours]]:
    """Neighbours of one layer and position that `das sweep` would train in one pass."""
    for (_, position), same_site in groupby(
        cells, lambda c: (c.prepared.engine.block, int(c.batch.writes[0].index[0]))
    ):
        members = list(same_site)
        size = max(1, TOGETHER // (BATCH * (TOKENS - position)))
        yield from (members[i : i + size] for i in range(0, len(members), size))


def _cells(model: nn.Module, layers: object, positions: object, seeds: int) -> tuple[list[Ours], Recording]:
    """Every cell ready to be trained, from one recording."""
    engines = {n: Engine(model, InterventionSet([(Site(n), das(WIDTH, RANK))]).placements) for n in layers}
    data = AtPosition(TOKENS - 1)
    recording = Recording(list(engines.values()), data)
    batches: dict[int, PairBatch] = {p: replace(data, position=p).collate(range(BATCH)) for p in positions}
    cells = []
    for layer, engine in engines.items():
        for position in positions:
            for seed in range(seeds):
                torch.manual_seed(seed)
                placed = InterventionSet([(Site(layer), das(WIDTH, RANK))])
                optimizer = torch.optim.AdamW(placed.parameters(), lr=1e-3, weight_decay=0)
                cells.append(Ours(recording.replay(engine), placed, batches[position], optimizer))
    return cells, recording
