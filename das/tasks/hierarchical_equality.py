"""hierarchical_equality: are two pairs of objects alike in being equal or not? (arXiv 2303.02536, DAS)

Causal model: WX = [W = X], YZ = [Y = Z], answer = [WX = YZ]. Prompt (the next token is " True" or " False"):

    {W} {X} {Y} {Z} =

Every object is a span of its own. Each of `variables` is taken from a source of its own (`das.tasks.sources`); the
label is [WX = YZ] with the values they have there, so no source's own distribution is the counterfactual one. WX and YZ
of base and sources are independent and balanced: giving the base's or a source's own answer scores 0.5, 0.0 on changed
pairs for the base's. Splits share no object and do not depend on any seed. A contrast differs in the first of
`variables` only, so that there the concept's own answer is the counterfactual one. Torch-free.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from das.errors import ConfigError
from das.tasks.base import check_count, check_split, deal, split_up, stream
from das.tasks.causal import CausalModel
from das.tasks.render import check_template, render
from das.tasks.sources import check_variables, interchanges, source_names
from das.types import Contrast, CounterfactualPair, SpanFinder

TEMPLATE = "{W} {X} {Y} {Z} ="
LABELS = (" True", " False")
OBJECTS: tuple[str, ...] = (
    "apple", "ball", "bell", "bird", "boat", "book", "bread", "bus", "cake", "candle", "car", "chair", "clock", "cup",
    "doll", "door", "drum", "duck", "egg", "fish", "flag", "fork", "frog", "hat", "key", "lamp", "leaf", "moon", "pen",
    "ring", "shoe", "star",
)  # fmt: skip

CAUSAL_MODEL = CausalModel(
    parents={"W": (), "X": (), "Y": (), "Z": (), "WX": ("W", "X"), "YZ": ("Y", "Z"), "answer": ("WX", "YZ")},
    mechanisms={
        "WX": lambda w, x: w == x,
        "YZ": lambda y, z: y == z,
        "answer": lambda wx, yz: LABELS[0] if wx == yz else LABELS[1],
    },
)
VARIABLES = ("WX", "YZ")

Inputs = dict[str, str]
#: Values of WX and YZ.
Bits = tuple[bool, ...]


class HierarchicalEquality:
    """The hierarchical_equality task; see the module's docstring.

    Args:
        variables: what is interchanged, "WX", "YZ" or both.
        objects: words that objects are drawn from; with `objects_per_split` taken by a fixed shuffle.
        objects_per_split: objects in each split, at least two.
        template: a prompt with the fields {W}, {X}, {Y} and {Z}.
    """

    name = "hierarchical_equality"
    labels = LABELS
    finder: SpanFinder | None = None

    def __init__(
        self,
        variables: Sequence[str] = ("WX",),
        objects: Sequence[str] = OBJECTS,
        objects_per_split: Mapping[str, int] | None = None,
        template: str = TEMPLATE,
    ) -> None:
        sizes = {"train": 16, "val": 8, "test": 8} if objects_per_split is None else dict(objects_per_split)
        check_variables(self.name, variables, [VARIABLES])
        check_template(template, CAUSAL_MODEL.inputs)
        for split in sizes:
            check_split(self.name, split)
        if min(sizes.values(), default=0) < 0 or sum(sizes.values()) > len(set(objects)):
            raise ConfigError(
                "hierarchical_equality cannot be built from these arguments",
                got=f"{len(set(objects))} different objects, {sizes} of them per split",
                remedy="give as many objects as the splits hold together",
            )
        self.variables, self.template = tuple(variables), template
        self._sources = source_names(self.variables)
        self._objects = split_up(list(dict.fromkeys(objects)), sizes, f"{self.name}/objects")

    @property
    def floors(self) -> Mapping[str, float]:
        """A half, whoever's answer is copied."""
        return dict.fromkeys(("base", *self._sources.values()), 0.5)

    def entities(self, split: str) -> frozenset[str]:
        """The objects of this split."""
        return frozenset(self._pool(split))

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs; every combination of interchanged variables and of their values occurs equally often."""
        rng = stream(self.name, f"pairs/{'/'.join(self.variables)}", split, n, seed)
        bits = list(product((True, False), repeat=2))
        cells = list(product(interchanges(self.variables), product(bits, repeat=1 + len(self.variables))))
        return [self._pair(split, chosen, values, rng) for chosen, values in deal(cells, n, rng)]

    def contrasts(self, split: str, n: int, seed: int) -> list[Contrast]:
        """`n` contrasts in the first variable: unequal objects (negative) and equal ones, with all else shared."""
        variable, pool = self.variables[0], self._pool(split)
        rng = stream(self.name, f"contrasts/{variable}", split, n, seed)
        found = []
        for other in deal((True, False), n, rng):
            shared = _inputs(pool, (other, other), rng)
            fresh = {equal: _inputs(pool, (equal, equal), rng) for equal in (False, True)}
            sides = [
                shared | {name: fresh[equal][name] for name in CAUSAL_MODEL.parents[variable]}
                for equal in (False, True)
            ]
            answers = [_answer(CAUSAL_MODEL.run(side)) for side in sides]
            prompts = [render(self.template, side) for side in sides]
            entities = frozenset(word for side in sides for word in side.values())
            found.append(Contrast(prompts[0], prompts[1], answers[0], answers[1], entities))
        return found

    def _pair(
        self, split: str, chosen: tuple[str, ...], values: tuple[Bits, ...], rng: random.Random
    ) -> CounterfactualPair:
        pool = self._pool(split)
        base = _inputs(pool, values[0], rng)
        sources = {
            v: _inputs(pool, bits, rng, besides=base) for v, bits in zip(self.variables, values[1:], strict=True)
        }
        sources = {v: inputs if v in chosen else base for v, inputs in sources.items()}
        entities = frozenset(word for inputs in (base, *sources.values()) for word in inputs.values())
        return CounterfactualPair(
            render(self.template, base),
            {self._sources[v]: render(self.template, inputs) for v, inputs in sources.items()},
            _answer(CAUSAL_MODEL.run(base)),
            _answer(CAUSAL_MODEL.interchange(base, sources)),
            entities=entities,
        )

    def _pool(self, split: str) -> tuple[str, ...]:
        check_split(self.name, split)
        pool = self._objects[split]
        check_count(self.name, split, "objects", len(pool), 2)
        return pool


def _answer(values: Mapping[str, Any]) -> str:
    return str(values["answer"])


def _inputs(pool: Sequence[str], bits: Bits, rng: random.Random, besides: Inputs | None = None) -> Inputs:
    """Four objects with these values of WX and YZ, other ones than `besides`."""
    while True:
        found: Inputs = {}
        for names, equal in zip(VARIABLES, bits, strict=True):
            words = [rng.choice(pool)] * 2 if equal else rng.sample(pool, 2)
            found |= dict(zip(names, words, strict=True))
        if found != besides:
            return found
