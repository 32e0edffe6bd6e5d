"""two_digit_addition: is a one carried? MIB's variables of the sum of two numbers of two digits (arXiv 2504.13151).

    47 + 35 =        (what follows is " 82")

Causal model, on the digits t1 o1 and t2 o2 of the operands:

    ones_carry = [o1 + o2 > 9]                  ones = (o1 + o2) mod 10
    tens = (t1 + t2 + ones_carry) mod 10        hundreds = [t1 + t2 + ones_carry > 9]        answer: hundreds tens ones

One variable is taken from a source, of one of two kinds: `random` (all digits drawn anew) or `ones_carry` (the same
tens, and ones whose sum ends in the same digit, with the other carry; their sum is never 9, which has no such other).
Kinds are dealt out equally, and both carries of the base. Splits share no pair of tens. An answer may take several
tokens, so there is no label set: the metric is iia_full_vocab. The operands are the spans op1 and op2. Torch-free.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import product

from das.errors import ConfigError, UnknownChoiceError
from das.tasks.base import check_count, check_split, deal, split_up, stream
from das.tasks.causal import CausalModel
from das.tasks.render import check_template, render
from das.tasks.sources import check_variables
from das.types import SOURCE, CounterfactualPair, Prompt, SpanFinder

TEMPLATE = "{op1} + {op2} ="
DIGITS = ("t1", "o1", "t2", "o2")
VARIABLES = ("ones_carry", "ones", "tens", "hundreds")
KINDS = ("random", "ones_carry")
#: Every pair of first digits.
TENS = tuple((a, b) for a in range(1, 10) for b in range(1, 10))

CAUSAL_MODEL = CausalModel(
    parents={
        **dict.fromkeys(DIGITS, ()), "ones_carry": ("o1", "o2"), "ones": ("o1", "o2"),
        "tens": ("t1", "t2", "ones_carry"), "hundreds": ("t1", "t2", "ones_carry"),
        "answer": ("hundreds", "tens", "ones"),
    },
    mechanisms={
        "ones_carry": lambda a, b: int(a + b > 9),
        "ones": lambda a, b: (a + b) % 10,
        "tens": lambda a, b, carry: (a + b + carry) % 10,
        "hundreds": lambda a, b, carry: int(a + b + carry > 9),
        "answer": lambda hundreds, tens, ones: f"{hundreds}{tens}{ones}",
    },
)  # fmt: skip
Inputs = dict[str, int]
#: Carry -> ones of both operands.
_ONES = {carry: [(a, b) for a, b in product(range(10), repeat=2) if (a + b > 9) == carry] for carry in (False, True)}


class TwoDigitAddition:
    """The two_digit_addition task; see the module's docstring.

    Args:
        variables: what is interchanged: one of "ones_carry", "ones", "tens", "hundreds".
        kinds: of sources.
        tens_per_split: pairs of tens in each split, of 81.
        template: a prompt with the fields {op1} and {op2}.
        padded: answers have three digits, " 082".
    """

    name = "two_digit_addition"
    labels: tuple[str, ...] | None = None
    finder: SpanFinder | None = None

    def __init__(
        self,
        variables: Sequence[str] = ("ones_carry",),
        kinds: Sequence[str] = KINDS,
        tens_per_split: Mapping[str, int] | None = None,
        template: str = TEMPLATE,
        padded: bool = False,
    ) -> None:
        check_variables(self.name, variables, [[v] for v in VARIABLES])
        check_template(template, ("op1", "op2"))
        sizes = {"train": 49, "val": 16, "test": 16} if tens_per_split is None else dict(tens_per_split)
        for kind in kinds:
            if kind not in KINDS:
                raise UnknownChoiceError("kind of source of two_digit_addition", kind, KINDS)
        for split in sizes:
            check_split(self.name, split)
        if not kinds or min(sizes.values(), default=0) < 0 or sum(sizes.values()) > len(TENS):
            raise ConfigError(
                "two_digit_addition cannot be built from these arguments",
                got=f"{len(kinds)} kinds of sources, {sizes} pairs of tens per split",
                remedy=f"give at least one kind, and at most {len(TENS)} pairs of tens in all",
            )
        self.variables, self.kinds, self.template, self.padded = tuple(variables), tuple(kinds), template, padded
        self._tens = split_up(list(map(_named, TENS)), sizes, "two_digit_addition/tens")

    def entities(self, split: str) -> frozenset[str]:
        """The pairs of tens of this split, "4_+3_"."""
        return frozenset(self._pool(split))

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs; every kind of source, and both carries of the base, equally often."""
        rng = stream(self.name, f"pairs/{self.variables[0]}/{'/'.join(self.kinds)}", split, n, seed)
        cells = [(kind, carry) for kind in self.kinds for carry in (False, True)]
        return [self._pair(split, kind, carry, rng) for kind, carry in deal(cells, n, rng)]

    def _pair(self, split: str, kind: str, carry: bool, rng: random.Random) -> CounterfactualPair:
        ones = [(a, b) for a, b in _ONES[carry] if a + b != 9 or kind == "random"]
        base = self._inputs(split, rng.choice(ones), rng)
        if kind == "random":
            source = base
            while source == base:
                source = self._inputs(split, (rng.randrange(10), rng.randrange(10)), rng)
        else:
            wanted = base["o1"] + base["o2"] + (-10 if carry else 10)
            o1, o2 = rng.choice([(a, b) for a, b in _ONES[not carry] if a + b == wanted])
            source = base | {"o1": o1, "o2": o2}
        label = CAUSAL_MODEL.interchange(base, {self.variables[0]: source})["answer"]
        return CounterfactualPair(
            self._prompt(base), {SOURCE: self._prompt(source)}, self._label(CAUSAL_MODEL.run(base)["answer"]),
            self._label(label), entities=frozenset(_named((x["t1"], x["t2"])) for x in (base, source)),
        )  # fmt: skip

    def _inputs(self, split: str, ones: tuple[int, int], rng: random.Random) -> Inputs:
        """Tens of this split, with these ones."""
        t1, t2 = _read(rng.choice(self._pool(split)))
        return {"t1": t1, "o1": ones[0], "t2": t2, "o2": ones[1]}

    def _prompt(self, x: Inputs) -> Prompt:
        return render(self.template, {"op1": f"{x['t1']}{x['o1']}", "op2": f"{x['t2']}{x['o2']}"})

    def _label(self, answer: str) -> str:
        return f" {answer}" if self.padded else f" {int(answer)}"

    def _pool(self, split: str) -> tuple[str, ...]:
        check_split(self.name, split)
        pool = self._tens[split]
        check_count(self.name, split, "pairs of tens", len(pool), 1)
        return pool


def _named(tens: tuple[int, int]) -> str:
    return f"{tens[0]}_+{tens[1]}_"


def _read(named: str) -> tuple[int, int]:
    return int(named[0]), int(named[3])
