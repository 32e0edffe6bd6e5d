"""ravel_mini (T5): MDAS sets one attribute of a city and leaves the others; DAS breaks them (arXiv 2402.17700).

Model and task as in `das.models.recipes.ravel_mini` and `das.tasks.ravel_mini`; the site is the input of block 0 at the
city's token, 16 of 64 directions, held-out cities. Test pairs are balanced over attributes, so Cause is the IIA of
changed pairs, Isolate that of unchanged ones. MDAS is `das` trained by `cause_isolate`; DAS sees its cause pairs only.
Also measured: DAS of half the rank, which is better. About 3 minutes per seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from das.bench.base import Gate
from das.bench.fits import UNTRAINED, fitted
from das.methods import method
from das.metrics.aggregate.disentangle import Disentangled
from das.models.load import load_model
from das.objectives.cause_isolate import CauseIsolate
from das.tasks.ravel_mini import ravel_mini
from das.types import Site

RANK, LAYER, COMPONENT = 16, 0, "block_input"
#: Attribute -> the least Disentangle of MDAS.
BARS = {"Country": 0.68, "Continent": 0.88}


@final
class RavelMini:
    """The benchmark."""

    title = "attributes of cities: set one, leave the others"

    def run(self, seed: int) -> list[Gate]:
        """MDAS beside DAS of two ranks, the controls and another token, for two attributes."""
        gates: list[Gate] = []
        for target, bar in BARS.items():
            mdas = _metrics(target, seed, controls=tuple(UNTRAINED))
            gates.append(Gate(f"{target}: model's accuracy", mdas["model/accuracy"], "== 1"))
            gates += _scores(f"{target}: MDAS k={RANK}", _scored(mdas), f">= {bar}")
            for rank in (RANK, RANK // 2):
                das = _scored(_metrics(target, seed, rank=rank, isolate=0.0))
                gates += _scores(f"{target}: DAS k={rank}", das)
                margin = _scored(mdas).disentangle - das.disentangle
                gates.append(Gate(f"{target}: MDAS k={RANK} over DAS k={rank}", margin, ">= 0.1"))
            for control, exact in (("no_intervention", "== 0.5"), ("full_vector", "== 0.5"), ("random_subspace", "")):
                gates += _scores(f"{target}: {UNTRAINED[control]}", _scored(mdas, f"control/{control}/"), exact)
            elsewhere = _metrics(target, seed, positions="last")
            gates += _scores(f"{target}: MDAS k={RANK} at the last token", _scored(elsewhere), "<= 0.57")
        return gates


def _metrics(
    target: str, seed: int, *, rank: int = RANK, isolate: float = 1.0, positions: str = "span:entity", **more: Any
) -> Mapping[str, Any]:
    return fitted(
        load_model("ravel_mini"), ravel_mini([target]), method("das", rank=rank),
        Site(LAYER, COMPONENT, positions), seed, steps=300, batch=64, lr=0.01, n_train=2048, n_test=512,
        objective=CauseIsolate(isolate=isolate), **more,
    ).metrics  # fmt: skip


def _scored(metrics: Mapping[str, Any], prefix: str = "") -> Disentangled:
    return Disentangled(metrics[f"{prefix}iia_changed"], metrics[f"{prefix}iia_unchanged"])


def _scores(name: str, scored: Disentangled, bar: str = "") -> list[Gate]:
    return [
        Gate(f"{name}: Cause", scored.cause),
        Gate(f"{name}: Isolate", scored.isolate),
        Gate(f"{name}: Disentangle", scored.disentangle, bar),
    ]


BENCH = RavelMini()
