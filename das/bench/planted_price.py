"""planted_price (T3): DAS finds a variable that a model was trained to keep along one direction, and nowhere else.

Model and variables as in `das.models.recipes.planted_price`: "left" along one direction of 64 at the output of block 1,
last token. Copying the base's or the source's own answer scores 0.65 on these pairs. About 20 s per seed.
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

TEMPLATE, LABELS = "{lower} {upper} {amount} =", (" Yes", " No")


@final
class PlantedPrice:
    """The benchmark."""

    title = "price tagging through a planted bit: left along one direction of 64"

    def run(self, seed: int) -> list[Gate]:
        """The right site, the planted directions themselves, two other tokens."""
        model, task = load_model("planted_price"), PriceTagging(("left",), "mini", TEMPLATE, LABELS)
        planted, das = recipe("planted_price").planted(), method("das", rank=1)
        site, direction = planted["left"].site, planted["left"].basis
        found = fitted(model, task, das, site, seed, controls=tuple(UNTRAINED))
        truth, other = (fitted(model, task, fixed(planted[v].basis), site, seed).metrics for v in ("left", "right"))
        gates = [Gate("model: accuracy", found.metrics["model/accuracy"], ">= 0.99")]
        gates += iia("planted direction", truth, ">= 0.99")
        gates += iia("DAS k=1", found.metrics, ">= 0.98", ">= 0.98")
        gates.append(Gate("DAS k=1: cosine with the planted direction", projection(found, direction), ">= 0.85"))
        gates += iia("random k=1", found.metrics, changed="<= 0.05", prefix="control/random_subspace/")
        for control in ("no_intervention", "full_vector"):
            gates += iia(UNTRAINED[control], found.metrics, prefix=f"control/{control}/")
        gates += iia("direction of the other variable", other)
        for span in ("lower", "amount"):
            elsewhere = fitted(model, task, das, Site(site.layer, positions=f"span:{span}"), seed)
            gates += iia(f"DAS k=1 at the {span}'s token", elsewhere.metrics, changed="<= 0.02")
        return gates


BENCH = PlantedPrice()
