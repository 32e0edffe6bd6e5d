"""Prices between bounds: the grids that they lie on, and the causal models of `price_tagging`. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from das.tasks.causal import CausalModel

FIELDS = ("lower", "upper", "amount")
#: Where an amount lies: below, between, above the bounds.
REGIONS = (1, 2, 3)

#: Variable -> steps.
Inputs = dict[str, int]

_INPUTS: dict[str, tuple[str, ...]] = dict.fromkeys(FIELDS, ())
#: Variables of a hypothesis -> its causal model; prices are counted in steps of the grid.
CAUSAL_MODELS: Mapping[tuple[str, ...], CausalModel] = {
    ("left", "right"): CausalModel(
        {**_INPUTS, "left": ("amount", "lower"), "right": ("amount", "upper"), "answer": ("left", "right")},
        {
            "left": lambda amount, lower: amount >= lower,
            "right": lambda amount, upper: amount <= upper,
            "answer": lambda left, right: left and right,
        },
    ),
    ("middle",): CausalModel(
        {**_INPUTS, "middle": ("lower", "upper"), "answer": ("amount", "middle", "lower", "upper")},
        {
            "middle": lambda lower, upper: (lower + upper) / 2,
            "answer": lambda amount, middle, lower, upper: abs(amount - middle) <= (upper - lower) / 2,
        },
    ),
    ("bracket",): CausalModel(
        {**_INPUTS, "bracket": ("lower", "upper"), "answer": ("amount", "bracket")},
        {
            "bracket": lambda lower, upper: (lower, upper),
            "answer": lambda amount, bracket: bracket[0] <= amount <= bracket[1],
        },
    ),
}


@dataclass(frozen=True)
class Grid:
    """Prices in steps of 10 ** -decimals dollars; every range includes its ends.

    Attributes:
        decimals: digits after the point.
        amounts: what something can cost.
        bounds: smallest lower and largest upper bound.
        widths: smallest and largest difference of the two.
    """

    decimals: int
    amounts: tuple[int, int]
    bounds: tuple[int, int]
    widths: tuple[int, int]

    def text(self, steps: int) -> str:
        """A price as it is written."""
        return f"{steps / 10**self.decimals:.{self.decimals}f}"

    def amounts_in(self, region: int, bounds: Inputs) -> tuple[int, int]:
        """Smallest and largest amount of a region, for these bounds."""
        (first, last), lower, upper = self.amounts, bounds["lower"], bounds["upper"]
        return {1: (first, lower - 1), 2: (lower, upper), 3: (upper + 1, last)}[region]


GRIDS: Mapping[str, Grid] = {
    "cents": Grid(2, (1, 999), (5, 995), (250, 750)),
    "mini": Grid(0, (0, 31), (1, 30), (6, 18)),
}
