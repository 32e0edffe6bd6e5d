"""ioi_mini (T4): the output token is at the last token, and the output position nowhere: a ready-made negative.

Model as in `das.models.recipes.ioi_mini`, sources with other names than the base's. DAS of rank 32 of 64. The position
of the indirect object is a variable of the causal model that this net does not use: nothing above doing nothing is
found at any of three tokens. About three minutes per seed.
"""

from __future__ import annotations

from typing import final

from das.bench.base import Gate
from das.bench.fits import UNTRAINED, fitted, iia
from das.methods import method
from das.models.load import load_model
from das.tasks.ioi import IOI
from das.types import Site

RANK, LAYERS, N_TRAIN, MARGIN = 32, (1, 2), 2048, 0.03
#: The subject's second mention, its first or the indirect object, the last token.
ELSEWHERE = {"S2": "span:name_C", "the first name": "span:name_A", "the last token": "last"}


@final
class IOIMini:
    """The benchmark."""

    title = "indirect objects: the token is at the last position, the position is nowhere"

    def run(self, seed: int) -> list[Gate]:
        """The token at the last position and at S2, the position at three places."""
        model, das = load_model("ioi_mini"), method("das", rank=RANK)
        token, position = (IOI((v,), ("random",)) for v in ("output_token", "output_position"))
        layers = [
            fitted(model, token, das, Site(layer, positions="last"), seed, controls=tuple(UNTRAINED), n_train=N_TRAIN)
            for layer in LAYERS
        ]
        best = max(layers, key=lambda found: found.metrics["val/iia"]).metrics
        gates = [Gate("model: accuracy", best["model/accuracy"], ">= 0.99")]
        for layer, found in zip(LAYERS, layers, strict=True):
            gates.append(Gate(f"token, last position, layer {layer}: IIA", found.metrics["iia"]))
        gates.append(Gate("token, last position, the layer best on validation pairs: IIA", best["iia"], ">= 0.98"))
        for control, told in UNTRAINED.items():
            gates.append(Gate(f"token, last position, {told}: IIA", best[f"control/{control}/iia"]))
        wrong = fitted(model, token, das, Site(LAYERS[0], positions="span:name_C"), seed).metrics
        gates.append(Gate("token, at S2: IIA", wrong["iia"], "<= 0.05"))
        for told, positions in ELSEWHERE.items():
            site = Site(LAYERS[0], positions=positions)
            there = fitted(model, position, das, site, seed, controls=("no_intervention",)).metrics
            gates += iia(f"position, at {told}", there)
            gain = there["iia"] - there["control/no_intervention/iia"]
            gates.append(Gate(f"position, at {told}: IIA above doing nothing", gain, f"<= {MARGIN}"))
        return gates


BENCH = IOIMini()
