"""ioi: who is given something? Indirect object identification (arXiv 2211.00593) with MIB's variables (2504.13151).

    After Tim and Lily went to the park, Tim gave a kite to        (the next token is " Lily")

Causal model (`das.tasks.ioi_model`), on the names A, B and C in order of mention, where C is one of A and B:

    output_position = 1 if C = A else 0        output_token = (A, B)[output_position]        answer = output_token

One of the two variables is taken from a source, of one of five kinds; MIB's four reuse the base's names:

    same                          the base itself                       same token, same position
    s1_io_flip                    A and B change places                 same token, other position
    s2_io_flip                    C is the other name                   other token, other position
    s1_io_flip_s2_io_flip         both                                  other token, same position
    random                        other names, object, place, template; both positions equally often

Kinds are dealt out equally. Under s2_io_flip a source's own answer is that of either variable, so only `random` tells
the position from the token. Splits share no name. The names are the spans name_A, name_B, name_C, the last one the
subject's second mention. A model that does it: "ioi_mini". Torch-free.

The rival of a base's answer is its subject: `base_logit_difference` reports logit(IO) - logit(S), both the base's. MIB
scores the distance from a linear model (`das.tasks.ioi_logits`): its `coefficients` give every pair the value that
`logit_difference_error` reports the distance to, and that `readout_mse` trains towards.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from das.errors import ConfigError, UnknownChoiceError
from das.tasks.base import check_count, check_split, deal, split_up, stream
from das.tasks.ioi_logits import LogitDifference, signs
from das.tasks.ioi_model import CAUSAL_MODEL, FLIPS, VARIABLES, Names, flipped, named
from das.tasks.ioi_words import Words
from das.tasks.render import render
from das.tasks.sources import check_variables
from das.types import SOURCE, CounterfactualPair, Prompt, SpanFinder

KINDS = (*FLIPS, "random")


class IOI:
    """The ioi task; see the module's docstring.

    Args:
        variables: what is interchanged: "output_token" or "output_position".
        kinds: of sources.
        names_per_split: names in each split, at least four where it is used.
        path: folder with MIB's files; this project's own words by default.
        coefficients: of the linear model of logit differences: constant, token, position; None gives pairs no value.
    """

    name = "ioi"
    finder: SpanFinder | None = None

    def __init__(
        self,
        variables: Sequence[str] = ("output_token",),
        kinds: Sequence[str] = KINDS[1:],
        names_per_split: Mapping[str, int] | None = None,
        path: str | None = None,
        coefficients: Sequence[float] | None = None,
    ) -> None:
        check_variables(self.name, variables, [[v] for v in VARIABLES])
        sizes = {"train": 59, "val": 16, "test": 24} if names_per_split is None else dict(names_per_split)
        words = Words.own() if path is None else Words.read(path)
        for kind in kinds:
            if kind not in KINDS:
                raise UnknownChoiceError("kind of source of ioi", kind, KINDS)
        for split in sizes:
            check_split(self.name, split)
        if not kinds or min(sizes.values(), default=0) < 0 or sum(sizes.values()) > len(words.names):
            raise ConfigError(
                "ioi cannot be built from these arguments",
                got=f"{len(kinds)} kinds of sources, {len(words.names)} names, {sizes} of them per split",
                remedy="give at least one kind, and as many names as the splits hold together",
            )
        self.logit_difference = None if coefficients is None else LogitDifference.of(coefficients)
        if self.logit_difference is not None and "random" in kinds:
            raise ConfigError(
                "MIB's linear model is about sources with the base's names, which those of kind random do not have",
                got=f"coefficients, and kinds {list(kinds)}", remedy=f"give some of kinds={list(FLIPS)}",
            )  # fmt: skip
        self.variables, self.kinds, self._words = tuple(variables), tuple(kinds), words
        self.labels: tuple[str, ...] = tuple(f" {name}" for name in words.names)
        self._names = split_up(words.names, sizes, "ioi/names")

    @property
    def floors(self) -> Mapping[str, float]:
        """What giving the base's or the source's own answer scores."""
        token = self.variables[0] == "output_token"
        kept = {"s1_io_flip": 1.0} if token else {"s1_io_flip_s2_io_flip": 1.0, "random": 0.5}
        copied = dict.fromkeys(KINDS, 1.0) if token else {"s2_io_flip": 1.0}
        scored = {"base": kept | {"same": 1.0}, SOURCE: copied | {"same": 1.0}}
        return {who: sum(right.get(k, 0.0) for k in self.kinds) / len(self.kinds) for who, right in scored.items()}

    def entities(self, split: str) -> frozenset[str]:
        """The names of this split."""
        return frozenset(self._pool(split))

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, every kind of source and both positions of the base equally often."""
        rng = stream(self.name, f"pairs/{self.variables[0]}/{'/'.join(self.kinds)}", split, n, seed)
        cells = [(kind, own, other) for kind in self.kinds for own in (0, 1) for other in (0, 1)]
        return [self._pair(split, *cell, rng) for cell in deal(cells, n, rng)]

    def _pair(self, split: str, kind: str, own: int, other: int, rng: random.Random) -> CounterfactualPair:
        a, b, c, d = rng.sample(self._pool(split), 4)
        base, setting = named(a, b, own), self._setting(rng)
        if kind == "random":
            source, told = named(c, d, other), self._setting(rng)
        else:
            source, told = flipped(base, kind), setting
        forced = CAUSAL_MODEL.interchange(base, {self.variables[0]: source})
        linear = self.logit_difference
        return CounterfactualPair(
            _prompt(base, setting), {SOURCE: _prompt(source, told)}, str(CAUSAL_MODEL.run(base)["answer"]),
            str(forced["answer"]), entities=frozenset((*base.values(), *source.values())), rival=f" {base['name_C']}",
            value=None if linear is None else linear(*signs(base, source, self.variables)),
        )  # fmt: skip

    def _setting(self, rng: random.Random) -> tuple[str, Names]:
        """A template, and what it is filled with besides names."""
        template, thing = rng.choice(self._words.settings)
        return template, {"object": thing, "place": rng.choice(self._words.places)}

    def _pool(self, split: str) -> tuple[str, ...]:
        check_split(self.name, split)
        pool = self._names.get(split, ())
        check_count(self.name, split, "names", len(pool), 4)
        return pool


def _prompt(names: Names, setting: tuple[str, Mapping[str, Any]]) -> Prompt:
    return render(setting[0], {**names, **setting[1]})
