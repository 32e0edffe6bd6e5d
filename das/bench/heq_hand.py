"""heq_hand (T1): DAS finds a variable that a model carries by construction, and finds it nowhere else.

Model and variable as in `das.models.recipes.heq_hand`: WX along one direction of 32 at the output of block 1, last
token. Controls: random directions, the direction of the other variable, the first token. About 20 s per seed.
"""

from __future__ import annotations

from typing import final

from das.bench.base import Gate
from das.bench.fits import UNTRAINED, fitted, fixed, iia, projection
from das.methods import method
from das.models.load import load_model
from das.models.recipes.base import recipe
from das.tasks.hierarchical_equality import HierarchicalEquality
from das.types import Site

RANKS = (1, 8)


@final
class HeqHand:
    """The benchmark."""

    title = "hierarchical equality by construction: WX along one direction of 32"

    def run(self, seed: int) -> list[Gate]:
        """One fit per rank at the right site, one at another token, one with the other variable's direction."""
        model, task = load_model("heq_hand"), HierarchicalEquality(("WX",))
        planted = recipe("heq_hand").planted()
        site, direction = planted["WX"].site, planted["WX"].basis
        gates: list[Gate] = []
        for rank in RANKS:
            found = fitted(model, task, method("das", rank=rank), site, seed, controls=tuple(UNTRAINED))
            gates += iia(f"DAS k={rank}", found.metrics, ">= 0.99")
            gates.append(Gate(f"DAS k={rank}: planted direction in the span", projection(found, direction), ">= 0.97"))
            gates += iia(f"random k={rank}", found.metrics, "<= 0.65", prefix="control/random_subspace/")
        for control in ("no_intervention", "full_vector"):
            gates += iia(UNTRAINED[control], found.metrics, prefix=f"control/{control}/")
        other = fitted(model, task, fixed(planted["YZ"].basis), site, seed)
        gates += iia("direction of the other variable", other.metrics, ">= 0.45, <= 0.55")
        elsewhere = fitted(model, task, method("das", rank=1), Site(site.layer, positions="first"), seed)
        return gates + iia("DAS k=1 at the first token", elsewhere.metrics, changed="<= 0.02")


BENCH = HeqHand()
