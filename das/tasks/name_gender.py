"""name_gender: a child's name decides the pronoun that follows.

Causal model: name -> gender -> pronoun. Prompt (the next token is " she" or " he"):

    Once upon a time, there was a {adj} child named {name}. {name} loved to play in the park. One day,

The span "name" holds both mentions. An interchange of `gender` runs the base with the gender of the source's name, so
the counterfactual label is the source's own pronoun, and the source's own distribution is the counterfactual one
(`target="source"`). In `pairs` base and source have independent names and adjectives; half of the pairs change the
label and half do not, and each half has as many girls as boys as bases (one more or less where counts are odd). A
pair that does not change the label still has two different names. A no-op therefore scores 0.5, 0.0 on the changed
half. Splits share no name, hold as many girls as boys, and do not depend on any seed. Torch-free.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from das.errors import ConfigError
from das.tasks.base import alternate, check_count, check_split, split_up, stream
from das.tasks.causal import CausalModel
from das.tasks.names import BOYS, GIRLS
from das.types import SOURCE, Contrast, CounterfactualPair, Prompt, SpanFinder

TEMPLATE = "Once upon a time, there was a {adj} child named {name}. {name} loved to play in the park. One day,"
ADJECTIVES: tuple[str, ...] = ("little", "happy", "kind", "curious", "brave", "small", "young", "funny")
SPAN = "name"

_PRONOUN = {"girl": " she", "boy": " he"}
_POOL = {"girl": GIRLS, "boy": BOYS}
_FINDER = SpanFinder(SPAN, GIRLS + BOYS)

CAUSAL_MODEL = CausalModel(
    parents={"name": (), "gender": ("name",), "pronoun": ("gender",)},
    mechanisms={"gender": lambda name: "girl" if name in GIRLS else "boy", "pronoun": lambda gender: _PRONOUN[gender]},
)


class NameGender:
    """The name_gender task; see the module's docstring.

    Args:
        adjectives: what a child can be; drawn uniformly.
        names_per_split: names per gender in each split, taken by a fixed shuffle of the name lists.
    """

    name = "name_gender"
    labels = (" she", " he")
    positive = " she"
    negative = " he"
    finder = _FINDER
    concept_words: Mapping[str, tuple[str, ...]] = {
        "positive": ("she", "her", "hers", "herself"),
        "negative": ("he", "him", "his", "himself"),
    }

    def __init__(
        self, adjectives: Sequence[str] = ADJECTIVES, names_per_split: Mapping[str, int] | None = None
    ) -> None:
        sizes = {"train": 24, "val": 8, "test": 10} if names_per_split is None else dict(names_per_split)
        for split in sizes:
            check_split(self.name, split)
        if not adjectives or min(sizes.values(), default=0) < 0 or sum(sizes.values()) > len(GIRLS):
            raise ConfigError(
                "name_gender cannot be built from these arguments",
                got=f"{len(adjectives)} adjectives, names per gender {sizes}",
                remedy=f"give at least one adjective and at most {len(GIRLS)} names per gender in all",
            )
        self.adjectives = tuple(adjectives)
        self._names = {gender: split_up(pool, sizes, "name_gender/names") for gender, pool in _POOL.items()}

    def entities(self, split: str) -> frozenset[str]:
        """The names of this split, both genders."""
        return frozenset(self._pool("girl", split) + self._pool("boy", split))

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, half of them label-changing (to within one), in random order."""
        rng = stream(self.name, "pairs", split, n, seed)
        return [self._pair(split, change, girl, rng) for change, girl in _quarters(n, rng)]

    def contrasts(self, split: str, n: int, seed: int) -> list[Contrast]:
        """`n` contrasts: a boy's prompt (negative) and a girl's (positive) with the same adjective."""
        rng = stream(self.name, "contrasts", split, n, seed)
        found = []
        for _ in range(n):
            boy, girl = (self._draw(gender, split, rng) for gender in ("boy", "girl"))
            adj = rng.choice(self.adjectives)
            found.append(Contrast(_prompt(boy, adj), _prompt(girl, adj), entities=frozenset((boy, girl))))
        return found

    def prompts(self, split: str, n: int, seed: int) -> list[tuple[Prompt, str]]:
        """`n` prompts with their pronouns, half of them girls' (to within one), in random order."""
        rng = stream(self.name, "prompts", split, n, seed)
        names = [self._draw("girl" if girl else "boy", split, rng) for girl in alternate(n, rng)]
        return [(_prompt(name, rng.choice(self.adjectives)), _label(name)) for name in names]

    def _pair(self, split: str, change: bool, girl: bool, rng: random.Random) -> CounterfactualPair:
        own, other = ("girl", "boy") if girl else ("boy", "girl")
        base = self._draw(own, split, rng)
        source = self._draw(other, split, rng) if change else self._draw(own, split, rng, besides=base)
        label = CAUSAL_MODEL.interchange({"name": base}, {"gender": {"name": source}})["pronoun"]
        prompts = [_prompt(name, rng.choice(self.adjectives)) for name in (base, source)]
        return CounterfactualPair(
            prompts[0], {SOURCE: prompts[1]}, _label(base), label, SOURCE, frozenset((base, source))
        )

    def _draw(self, gender: str, split: str, rng: random.Random, besides: str | None = None) -> str:
        names = [name for name in self._pool(gender, split) if name != besides]
        check_count(self.name, split, f"{gender}s", len(names) + (besides is not None), 1 + (besides is not None))
        return rng.choice(names)

    def _pool(self, gender: str, split: str) -> tuple[str, ...]:
        check_split(self.name, split)
        names = self._names[gender].get(split, ())
        check_count(self.name, split, f"{gender}s", len(names), 1)
        return names


def _quarters(n: int, rng: random.Random) -> list[tuple[bool, bool]]:
    """`n` draws of (label changes, base is a girl), both balanced and independent to within one."""
    changes = alternate(n, rng)
    girls = {change: iter(alternate(changes.count(change), rng)) for change in (True, False)}
    return [(change, next(girls[change])) for change in changes]


def _label(name: str) -> str:
    return str(CAUSAL_MODEL.run({"name": name})["pronoun"])


def _prompt(name: str, adj: str) -> Prompt:
    text = TEMPLATE.format(adj=adj, name=name)
    return Prompt(text, {SPAN: _FINDER.find(text)})
