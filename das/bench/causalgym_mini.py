"""causalgym_mini (T6): one direction decides the next word, where the model has moved it to (arXiv 2402.12560).

Model and tasks as in `das.models.recipes.causalgym_mini` and `das.tasks.causalgym_mini`; rank 1, output of a block, the
last token of a span, pairs with sentences not seen in training. Selectivity is the log odds-ratio less that of a
direction trained on the control task's labels. Controls: a random direction, and the subject's token, from where later
blocks no longer read. About 70 s per seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from das.bench.base import Gate
from das.bench.fits import UNTRAINED, fitted
from das.methods import method
from das.metrics.aggregate.layers import over_layers, selectivity
from das.metrics.log_odds_ratio import LogOddsRatio
from das.metrics.pairwise_iia import PairwiseIIA
from das.models.load import load_model
from das.tasks.causalgym_mini import TEMPLATES, causalgym_mini
from das.types import Site

TASK, RIGHT, WRONG = "agr_number_pp", "object", "subject"
LAYERS = (1, 2)
METRICS = {"odds": LogOddsRatio(), "iia": PairwiseIIA()}


@final
class CausalGymMini:
    """The benchmark."""

    title = "what decides the next word: one direction at the last span of eight kinds of sentences"

    def run(self, seed: int) -> list[Gate]:
        """One task at two spans of two layers with its control task; the others at their last span."""
        gates: list[Gate] = []
        odds: dict[tuple[int, str], float] = {}
        control: dict[tuple[int, str], float] = {}
        for layer in LAYERS:
            where = f"{TASK}, layer {layer}, {{{RIGHT}}}"
            found = _metrics(TASK, seed, layer, RIGHT, controls=tuple(UNTRAINED))
            gates += _scores(f"{where}: DAS", found, ">= 9", "== 1")
            gates += _scores(f"{where}: random", found, "<= 1.5", prefix="control/random_subspace/")
            for name in ("no_intervention", "full_vector"):
                gates += _scores(f"{where}: {UNTRAINED[name]}", found, prefix=f"control/{name}/")
            elsewhere = _metrics(TASK, seed, layer, WRONG)
            gates += _scores(f"{TASK}, layer {layer}, {{{WRONG}}}: DAS", elsewhere, "<= 0.5")
            odds |= {(layer, RIGHT): found["odds"], (layer, WRONG): elsewhere["odds"]}
            control |= {(layer, span): _metrics(TASK, seed, layer, span, True)["odds"] for span in (RIGHT, WRONG)}
        chosen = selectivity(odds, control)
        for (layer, span), value in chosen.items():
            name = f"{TASK}, layer {layer}, {{{span}}}: selectivity"
            gates.append(Gate(name, value, ">= 8" if span == RIGHT else ""))
        gates.append(Gate(f"{TASK}: mean over layers of the best span's selectivity", over_layers(chosen).average))
        for name in TEMPLATES:
            if name != TASK:
                last = causalgym_mini(name).spans[-1]
                gates += _scores(f"{name}, layer 1, {{{last}}}: DAS", _metrics(name, seed, 1, last), ">= 9", "== 1")
        return gates


def _metrics(
    name: str, seed: int, layer: int, span: str, control: bool = False, controls: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    return fitted(
        load_model("causalgym_mini"), causalgym_mini(name, control), method("das", rank=1),
        Site(layer, positions=f"span:{span}:last"), seed, controls=controls, n_train=400, n_test=100, metrics=METRICS,
    ).metrics  # fmt: skip


def _scores(name: str, metrics: Mapping[str, Any], bar: str = "", accuracy: str = "", prefix: str = "") -> list[Gate]:
    return [
        Gate(f"{name}: log odds-ratio", metrics[f"{prefix}odds"], bar),
        Gate(f"{name}: IIA", metrics[f"{prefix}iia"], accuracy),
    ]


BENCH = CausalGymMini()
