"""mcqa: which choice has the question's colour? MIB's variables of multiple-choice questions (arXiv 2504.13151).

    Question: The cherry is red. What color is the cherry?
    K. blue
    D. red
    M. green
    Q. white
    Answer:                                                 (the next token is " D")

Causal model: answer_pointer = index of the choice that is the question's colour; answer = " " + symbol[answer_pointer].
One of the two is taken from a source, of one of four kinds:

    answerPosition                  the right choice changes places with another one
    randomLetter                    all symbols drawn anew, none of them the base's
    answerPosition_randomLetter     both
    random                          another question, with choices and symbols of its own

Kinds are dealt out equally. Splits share no object. Spans are object, color, symbol0 to choice3, and MIB's positions
correct_symbol and correct_symbol_period (its third is the site's "last"). Torch-free.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from das.errors import ConfigError, UnknownChoiceError
from das.tasks.base import check_count, check_split, deal, split_up, stream
from das.tasks.causal import CausalModel
from das.tasks.render import render
from das.tasks.sources import check_variables
from das.types import SOURCE, CounterfactualPair, Prompt, SpanFinder

N_CHOICES = 4
VARIABLES = ("answer_pointer", "answer")
KINDS = ("answerPosition", "randomLetter", "answerPosition_randomLetter", "random")
SYMBOLS = tuple(f"symbol{i}" for i in range(N_CHOICES))
CHOICES = tuple(f"choice{i}" for i in range(N_CHOICES))
TEMPLATE = (
    "Question: The {object} is {color}. What color is the {object}?\n"
    + "".join(f"{{{symbol}}}. {{{choice}}}\n" for symbol, choice in zip(SYMBOLS, CHOICES, strict=True))
    + "Answer:"
)
#: Objects of this project's own, by colour.
OBJECTS: dict[str, tuple[str, ...]] = {
    "red": ("cherry", "ruby", "brick", "poppy"),
    "yellow": ("taxi", "duckling", "mustard", "butter"),
    "green": ("cactus", "frog", "lettuce", "emerald"),
    "blue": ("sapphire", "ocean", "jay", "denim"),
    "white": ("swan", "salt", "igloo", "milk"),
    "black": ("raven", "coal", "tire", "panther"),
    "brown": ("acorn", "bear", "walnut", "cocoa"),
    "purple": ("plum", "amethyst", "lavender", "violet"),
}

CAUSAL_MODEL = CausalModel(
    parents={
        "color": (), **dict.fromkeys((*CHOICES, *SYMBOLS), ()),
        "answer_pointer": ("color", *CHOICES), "answer": ("answer_pointer", *SYMBOLS),
    },
    mechanisms={
        "answer_pointer": lambda color, *choices: choices.index(color),
        "answer": lambda pointer, *symbols: f" {symbols[pointer]}",
    },
)  # fmt: skip
#: Values of the causal model's inputs, and the object.
Inputs = dict[str, str]


class MCQA:
    """The mcqa task; see the module's docstring.

    Args:
        variables: what is interchanged: "answer_pointer" or "answer".
        kinds: of sources.
        shares: of the objects, in each split.
        path: MIB's object_color_pairs.json, a list of {"object", "color"}; this project's own by default.
    """

    name = "mcqa"
    labels: tuple[str, ...] = tuple(f" {letter}" for letter in ascii_uppercase)
    finder: SpanFinder | None = None

    def __init__(
        self,
        variables: Sequence[str] = ("answer_pointer",),
        kinds: Sequence[str] = KINDS,
        shares: Mapping[str, float | int] | None = None,
        path: str | None = None,
    ) -> None:
        check_variables(self.name, variables, [[v] for v in VARIABLES])
        shares = {"train": 0.5, "val": 0.25, "test": 0.25} if shares is None else dict(shares)
        for kind in kinds:
            if kind not in KINDS:
                raise UnknownChoiceError("kind of source of mcqa", kind, KINDS)
        for split in shares:
            check_split(self.name, split)
        if not kinds or min(shares.values(), default=0) < 0 or sum(shares.values()) > 1 + 1e-9:
            raise ConfigError(
                "mcqa cannot be built from these arguments", got=f"{len(kinds)} kinds of sources, shares {shares}",
                remedy="give at least one kind, and shares that sum to 1 at most",
            )  # fmt: skip
        self.variables, self.kinds = tuple(variables), tuple(kinds)
        self._colors = _own() if path is None else _read(Path(path).expanduser())
        check_count(self.name, "any", "colours", len(set(self._colors.values())), N_CHOICES)
        sizes = {split: int(share * len(self._colors) + 1e-9) for split, share in shares.items()}
        self._objects = split_up(list(self._colors), sizes, "mcqa/objects")

    def entities(self, split: str) -> frozenset[str]:
        """The objects of this split."""
        return frozenset(self._pool(split))

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs; every kind of source, and every index of the base's right choice, equally often."""
        rng = stream(self.name, f"pairs/{self.variables[0]}/{'/'.join(self.kinds)}", split, n, seed)
        cells = [(kind, pointer) for kind in self.kinds for pointer in range(N_CHOICES)]
        return [self._pair(split, kind, pointer, rng) for kind, pointer in deal(cells, n, rng)]

    def _pair(self, split: str, kind: str, pointer: int, rng: random.Random) -> CounterfactualPair:
        one, other = rng.sample(self._pool(split), 2)
        base = self._inputs(one, pointer, rng)
        source = self._inputs(other, rng.randrange(N_CHOICES), rng) if kind == "random" else dict(base)
        if kind.startswith("answerPosition"):
            right, wrong = CHOICES[pointer], rng.choice([c for i, c in enumerate(CHOICES) if i != pointer])
            source[right], source[wrong] = base[wrong], base[right]
        if kind.endswith("randomLetter"):
            fresh = [letter for letter in ascii_uppercase if letter not in {base[s] for s in SYMBOLS}]
            source |= dict(zip(SYMBOLS, rng.sample(fresh, N_CHOICES), strict=True))
        forced = CAUSAL_MODEL.interchange(_given(base), {self.variables[0]: _given(source)})
        return CounterfactualPair(
            _prompt(base), {SOURCE: _prompt(source)}, str(CAUSAL_MODEL.run(_given(base))["answer"]),
            str(forced["answer"]), entities=frozenset((base["object"], source["object"])),
        )  # fmt: skip

    def _inputs(self, thing: str, pointer: int, rng: random.Random) -> Inputs:
        """A question about an object whose right choice is at an index."""
        color = self._colors[thing]
        choices = rng.sample(sorted(set(self._colors.values()) - {color}), N_CHOICES - 1)
        choices.insert(pointer, color)
        symbols = rng.sample(ascii_uppercase, N_CHOICES)
        return {"object": thing, "color": color} | dict(zip((*CHOICES, *SYMBOLS), (*choices, *symbols), strict=True))

    def _pool(self, split: str) -> tuple[str, ...]:
        check_split(self.name, split)
        pool = self._objects[split]
        check_count(self.name, split, "objects", len(pool), 2)
        return pool


def _given(inputs: Inputs) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "object"}


def _prompt(inputs: Inputs) -> Prompt:
    """The question, with the right choice's symbol and the full stop behind it as spans."""
    prompt = render(TEMPLATE, inputs)
    [(start, end)] = prompt.spans[SYMBOLS[CAUSAL_MODEL.run(_given(inputs))["answer_pointer"]]]
    right = {"correct_symbol": ((start, end),), "correct_symbol_period": ((end, end + 1),)}
    return replace(prompt, spans={**prompt.spans, **right})


def _own() -> dict[str, str]:
    return {thing: color for color, things in OBJECTS.items() for thing in things}


def _read(file: Path) -> dict[str, str]:
    """Object -> colour."""
    try:
        found = {str(row["object"]): str(row["color"]) for row in json.loads(file.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "the objects' colours cannot be read", got=str(file), remedy='write a JSON list of {"object", "color"}'
        ) from error
    return found
