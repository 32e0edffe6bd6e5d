"""price_tagging: does an amount lie between two bounds? (arXiv 2305.08809, Boundless DAS)

Three hypotheses about how the answer is computed from lower bound L, upper bound U and amount a:

    left, right    answer = left and right,  left = [a >= L],  right = [a <= U]
    middle         answer = [|a - (L + U)/2| <= (U - L)/2],  (L + U)/2 interchanged
    bracket        answer = [L <= a <= U],  (L, U) interchanged

Each of `variables` is taken from a source of its own (`das.tasks.sources`); no source's own distribution is the
counterfactual one. Pairs of left and right follow the paper: the counterfactual label is Yes in half of them, and given
that, every combination of regions (a below, between, above the bounds) of base and sources is equally likely. Giving
the base's or the source's own answer then scores 0.65 for one variable, not 0.5: `floors` has these numbers. Pairs of
middle and bracket balance the answers of base, source and interchange against one another: 0.5.

Splits share no lower bound and do not depend on any seed. A contrast differs in the first of `variables` only where
that decides the answer. `grid` "cents" is the paper's (L from 0.05 to 7.45, width 2.50 to 7.50, amounts 0.01 to 9.99
dollars), "mini" has whole prices (L from 1 to 24, width 6 to 18, amounts 0 to 31). Torch-free.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from das.errors import UnknownChoiceError
from das.tasks.base import SPLITS, check_count, check_split, deal, stream
from das.tasks.prices import CAUSAL_MODELS, FIELDS, GRIDS, REGIONS, Inputs
from das.tasks.render import check_template, render
from das.tasks.sources import check_variables, interchanges, source_names
from das.types import Contrast, CounterfactualPair, Prompt, SpanFinder

TEMPLATE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
    "Please say yes only if it costs between {lower} and {upper} dollars, otherwise no.\n\n"
    "### Input:\n{amount} dollars\n\n### Response:\n"
)
#: The split of every lower bound in turn: all splits reach from the lowest to the highest.
_TURNS = ("train", "val", "train", "test", "train")


class PriceTagging:
    """The price_tagging task; see the module's docstring.

    Args:
        variables: what is interchanged: "left", "right" or both, or "middle", or "bracket".
        grid: "cents" or "mini".
        template: a prompt with the fields {lower}, {upper} and {amount}.
        labels: what follows it for yes and for no.
    """

    finder: SpanFinder | None = None

    def __init__(
        self,
        variables: Sequence[str] = ("left",),
        grid: str = "cents",
        template: str = TEMPLATE,
        labels: Sequence[str] = ("Yes", "No"),
    ) -> None:
        if grid not in GRIDS:
            raise UnknownChoiceError("grid of prices", grid, GRIDS)
        check_variables("price_tagging", variables, CAUSAL_MODELS)
        check_template(template, FIELDS)
        self.name = "price_tagging" if grid == "cents" else f"price_tagging_{grid}"
        self.variables, self.grid, self.template = tuple(variables), GRIDS[grid], template
        self.labels: tuple[str, ...] = tuple(labels)
        self.causal_model = next(m for known, m in CAUSAL_MODELS.items() if self.variables[0] in known)
        self._sources = source_names(self.variables)
        first, last = self.grid.bounds[0], self.grid.bounds[1] - self.grid.widths[0]
        dealt = [(_TURNS[i % len(_TURNS)], lower) for i, lower in enumerate(range(first, last + 1))]
        self._lowers = {split: [lower for s, lower in dealt if s == split] for split in SPLITS}

    @property
    def floors(self) -> Mapping[str, float]:
        """What giving the base's or a source's own answer scores: 0.65 for left or right."""
        copied = ("base", *self._sources.values())
        if not self._by_region:
            return dict.fromkeys(copied, 0.5)
        cells = self._cells()
        scores = dict.fromkeys(copied, 0.0)
        for (chosen, label), combinations in cells.items():
            for regions in combinations:
                own = {"base": regions[0]}
                for variable, region in zip(self.variables, regions[1:], strict=True):
                    own[self._sources[variable]] = region if variable in chosen else regions[0]
                for name, region in own.items():
                    scores[name] += ((region == 2) == label) / len(combinations) / len(cells)
        return scores

    def entities(self, split: str) -> frozenset[str]:
        """The lower bounds of this split, as they are written."""
        check_split(self.name, split)
        return frozenset(map(self.grid.text, self._lowers[split]))

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, balanced as the module says."""
        check_split(self.name, split)
        rng = stream(self.name, f"pairs/{'/'.join(self.variables)}", split, n, seed)
        if self._by_region:
            cells = self._cells()
            drawn = deal(list(cells), n, rng)
            regions = {cell: iter(deal(found, drawn.count(cell), rng)) for cell, found in cells.items()}
            return [self._pair(cell[0], self._distinct(split, next(regions[cell]), rng)) for cell in drawn]
        wanted = deal(list(product((True, False), repeat=3)), n, rng)
        return [self._pair(self.variables, self._until(split, answers, rng)) for answers in wanted]

    def contrasts(self, split: str, n: int, seed: int) -> list[Contrast]:
        """`n` contrasts: a prompt whose answer is no (negative) and one whose answer is yes, by the first variable."""
        check_split(self.name, split)
        rng = stream(self.name, f"contrasts/{self.variables[0]}", split, n, seed)
        found = []
        for _ in range(n):
            negative, positive = self._sides(split, rng)
            entities = frozenset(self.grid.text(side["lower"]) for side in (negative, positive))
            no, yes = self._label(False), self._label(True)
            found.append(Contrast(self._prompt(negative), self._prompt(positive), no, yes, entities))
        return found

    @property
    def _by_region(self) -> bool:
        return self.variables[0] in ("left", "right")

    def _cells(self) -> dict[tuple[tuple[str, ...], bool], list[tuple[int, ...]]]:
        """(Interchanged variables, counterfactual answer) -> regions of the base and of every source."""
        cells: dict[tuple[tuple[str, ...], bool], list[tuple[int, ...]]] = {}
        for chosen in interchanges(self.variables):
            for regions in product(REGIONS, repeat=1 + len(self.variables)):
                where = dict(zip(self.variables, regions[1:], strict=True))
                left, right = (where[v] if v in chosen else regions[0] for v in ("left", "right"))
                cells.setdefault((chosen, left >= 2 and right <= 2), []).append(regions)
        return cells

    def _until(self, split: str, answers: tuple[bool, ...], rng: random.Random) -> list[Inputs]:
        """A base and a source with these answers, and this one under the interchange."""
        [variable] = self.variables
        while True:
            regions = [2 if answer else rng.choice((1, 3)) for answer in answers[:2]]
            base, source = self._distinct(split, regions, rng)
            if self.causal_model.interchange(base, {variable: source})["answer"] == answers[2]:
                return [base, source]

    def _sides(self, split: str, rng: random.Random) -> tuple[Inputs, Inputs]:
        """Inputs answered no and yes that differ in the first variable, and else in nothing that matters."""
        variable = self.variables[0]
        while True:
            positive = self._inputs(split, 2, rng)
            if self._by_region:
                other = self.grid.amounts_in(1 if variable == "left" else 3, positive)
                return positive | {"amount": rng.randint(*other)}, positive
            width = positive["upper"] - positive["lower"] if variable == "middle" else None
            negative = self._inputs(split, 2, rng, width) | {"amount": positive["amount"]}
            if not self.causal_model.run(negative)["answer"]:
                return negative, positive

    def _pair(self, chosen: tuple[str, ...], inputs: Sequence[Inputs]) -> CounterfactualPair:
        base = inputs[0]
        sources = {v: x if v in chosen else base for v, x in zip(self.variables, inputs[1:], strict=True)}
        return CounterfactualPair(
            self._prompt(base),
            {self._sources[v]: self._prompt(x) for v, x in sources.items()},
            self._label(self.causal_model.run(base)["answer"]),
            self._label(self.causal_model.interchange(base, sources)["answer"]),
            entities=frozenset(self.grid.text(x["lower"]) for x in (base, *sources.values())),
        )

    def _inputs(self, split: str, region: int, rng: random.Random, width: int | None = None) -> Inputs:
        """Bounds of this split, of this or of any width, and an amount in a region."""
        lowers, width = self._lowers[split], rng.randint(*self.grid.widths) if width is None else width
        count = bisect_right(lowers, self.grid.bounds[1] - width)
        check_count(self.name, split, "lower bounds", count, 1)
        lower = lowers[rng.randrange(count)]
        bounds = {"lower": lower, "upper": lower + width}
        return bounds | {"amount": rng.randint(*self.grid.amounts_in(region, bounds))}

    def _distinct(self, split: str, regions: Sequence[int], rng: random.Random) -> list[Inputs]:
        """A base and its sources in these regions; no source is the base."""
        base, *sources = (self._inputs(split, region, rng) for region in regions)
        while base in sources:
            sources = [self._inputs(split, region, rng) for region in regions[1:]]
        return [base, *sources]

    def _prompt(self, inputs: Inputs) -> Prompt:
        return render(self.template, {name: self.grid.text(inputs[name]) for name in FIELDS})

    def _label(self, answer: Any) -> str:
        return self.labels[0] if answer else self.labels[1]
