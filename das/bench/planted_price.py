"""planted_price (T3): DAS finds a variable that a model was trained to keep in K dimensions, and nowhere else.

Models and variables as in `das.models.planted_prices`, K = 1 and 4: "left" in K dimensions of 64 at the output of block
1, last token. A bit needs one direction, so DAS of rank 1 is to find one within the planted K, and DAS of rank K is
scored by the one it has nearest to them. Copying the base's or the source's own answer scores 0.65 on these pairs.
About 40 s per seed.
"""

from __future__ import annotations

from typing import final

from das.bench.base import Gate
from das.bench.fits import UNTRAINED, fitted, fixed, iia, projection
from das.methods import method
from das.models.load import load_model
from das.models.recipes.base import recipe
from das.tasks.price_tagging import PriceTagging
from das.types import Site

#: K -> the model.
MODELS = {1: "planted_price", 4: "planted_price_rank4"}
TEMPLATE, LABELS = "{lower} {upper} {amount} =", (" Yes", " No")


@final
class PlantedPrice:
    """The benchmark."""

    title = "price tagging through a planted bit: left in 1 and in 4 dimensions of 64"

    def run(self, seed: int) -> list[Gate]:
        """For each K the right site, the planted directions themselves, two other tokens."""
        return [gate for rank, name in MODELS.items() for gate in _gates(rank, name, seed)]


def _gates(rank: int, name: str, seed: int) -> list[Gate]:
    model, task = load_model(name), PriceTagging(("left",), "mini", TEMPLATE, LABELS)
    planted, where = recipe(name).planted(), f"K={rank}, "
    site, basis = planted["left"].site, planted["left"].basis
    truth, other = (fitted(model, task, fixed(planted[v].basis), site, seed).metrics for v in ("left", "right"))
    gates = iia(f"{where}planted directions", truth, ">= 0.99")
    for k in sorted({1, rank}):
        found = fitted(model, task, method("das", rank=k), site, seed, controls=tuple(UNTRAINED))
        gates += iia(f"{where}DAS k={k}", found.metrics, ">= 0.98", ">= 0.98")
        gates.append(Gate(f"{where}DAS k={k}: cosine with the planted directions", projection(found, basis), ">= 0.85"))
        gates += iia(f"{where}random k={k}", found.metrics, changed="<= 0.05", prefix="control/random_subspace/")
    gates.append(Gate(f"{where}model: accuracy", found.metrics["model/accuracy"], ">= 0.99"))
    for control in ("no_intervention", "full_vector"):
        gates += iia(f"{where}{UNTRAINED[control]}", found.metrics, prefix=f"control/{control}/")
    gates += iia(f"{where}directions of the other variable", other)
    for span in ("lower", "amount"):
        elsewhere = fitted(model, task, method("das", rank=1), Site(site.layer, positions=f"span:{span}"), seed)
        gates += iia(f"{where}DAS k=1 at the {span}'s token", elsewhere.metrics, changed="<= 0.02")
    return gates


BENCH = PlantedPrice()
