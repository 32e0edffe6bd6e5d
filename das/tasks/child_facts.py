"""child_facts: three independent facts about every child, each of them a concept that is described in words.

Causal model: name -> ball (red or blue), friend (cat or dog), bag (cake or soup);  (asked, ball, friend, bag) -> answer

    In a cottage near the park lived Lily. The ball was        (the next token is " red" or " blue")

Which child has what was dealt out at random, so that the facts are independent of each other and of gender. A pair has
two children, a question to the base and any question to the source, and a concept, given in words as the source
"concept". The interchange sets that concept to the source's value: the answer changes where the base is asked about it,
and stays where it is asked about another. In all pairs the two children differ in what the base is asked, so a no-op
scores 0 on the changed half and 1 on the other, and a full swap at the name 1 and 0. Contrasts ask children of either
value about one fact; their concept is the value (`targets`). Splits share neither names nor, from train and val to
test, the wording of the concepts. Models that know the children: "child_facts" (`das.models.child_facts`). Torch-free.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from das.errors import UnknownChoiceError
from das.tasks.base import SPLITS, alternate, check_count, check_split, stream
from das.tasks.causal import CausalModel
from das.tasks.names import BOYS, GIRLS
from das.types import CONCEPT, SOURCE, Concept, Contrast, CounterfactualPair, Prompt, SpanFinder


@dataclass(frozen=True)
class Fact:
    """A fact about every child: how it is asked for, its two values, and the word for it."""

    question: str
    values: tuple[str, str]
    noun: str


FACTS: dict[str, Fact] = {
    "ball": Fact(" The ball was", (" red", " blue"), "ball"),
    "friend": Fact(" The friend was a", (" cat", " dog"), "friend"),
    "bag": Fact(" In the bag was some", (" cake", " soup"), "bag"),
}
INTROS: tuple[str, ...] = (
    "There was once a {adj} child named {name}.",
    "In a {home} near the {place} lived {name}.",
    "A {adj} child named {name} lived in a {home}.",
    "Near the {place} there was a child named {name}.",
)
WORDS: dict[str, tuple[str, ...]] = {
    "adj": ("little", "happy", "kind", "curious", "brave", "small", "young", "funny"),
    "home": ("house", "cottage", "cabin", "town", "farm"),
    "place": ("park", "garden", "forest", "yard", "field", "village"),
}
#: Wordings of a concept to interchange, and of a value to steer to; the last of each is kept for the test split.
ABOUT: tuple[str, ...] = ("{noun}", "the {noun}", "the {noun} was", "look at the {noun}", "all about the {noun}")
TOWARDS: tuple[str, ...] = ("{value}", "it was {value}", "the {noun} was {value}", "look for {value}")
SPAN = "name"

_CHILDREN = GIRLS + BOYS
_FINDER = SpanFinder(SPAN, _CHILDREN)
_FACT_OF = {value: fact for fact, known in FACTS.items() for value in known.values}


def _dealt() -> tuple[dict[str, dict[str, str]], dict[str, tuple[str, ...]]]:
    """What every child has, and the names of every split: each holds as many children of every combination."""
    has: dict[str, dict[str, str]] = {}
    split: dict[str, list[str]] = {name: [] for name in SPLITS}
    for gender in (GIRLS, BOYS):
        names = list(gender)
        random.Random("child_facts/names").shuffle(names)
        for i, name in enumerate(names):
            has[name] = {fact: known.values[i >> bit & 1] for bit, (fact, known) in enumerate(FACTS.items())}
            split["train" if i < 24 or i >= 40 else "val" if i < 32 else "test"].append(name)
    return has, {name: tuple(names) for name, names in split.items()}


_HAS, _NAMES = _dealt()

CAUSAL_MODEL = CausalModel(
    parents={"name": (), "asked": (), **dict.fromkeys(FACTS, ("name",)), "answer": ("asked", *FACTS)},
    mechanisms={
        **{fact: (lambda name, fact=fact: _HAS[name][fact]) for fact in FACTS},
        "answer": lambda asked, *known: dict(zip(FACTS, known, strict=True))[asked],
    },
)


def story(rng: random.Random) -> str:
    """A child with all facts in random order, for a model to learn them from."""
    name = rng.choice(_CHILDREN)
    order = list(FACTS)
    rng.shuffle(order)
    return _intro(name, rng) + "".join(f"{FACTS[fact].question}{_HAS[name][fact]}." for fact in order)


def words() -> list[str]:
    """Every word that stories, prompts and descriptions of concepts can hold, sorted; full stops too."""
    questions = [fact.question + " ".join(fact.values) + f" {fact.noun}" for fact in FACTS.values()]
    slots = [word for choices in WORDS.values() for word in choices]
    text = " ".join([*INTROS, *questions, *slots, *_CHILDREN, *ABOUT, *TOWARDS])
    return sorted(set(re.findall(r"\w+|[^\w\s]+", re.sub(r"{\w+}", " ", text))))


class ChildFacts:
    """The child_facts task; see the module's docstring.

    Args:
        targets: values that contrasts steer towards; all six by default.

    Raises:
        UnknownChoiceError: no such value.
    """

    name = "child_facts"
    labels: tuple[str, ...] = tuple(_FACT_OF)
    finder = _FINDER

    def __init__(self, targets: Sequence[str] | None = None) -> None:
        self.targets = self.labels if targets is None else tuple(targets)
        for target in self.targets:
            if target not in _FACT_OF:
                raise UnknownChoiceError("target of child_facts", target, self.labels)

    def entities(self, split: str) -> frozenset[str]:
        """The names of this split."""
        check_split(self.name, split)
        return frozenset(_NAMES[split])

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, half of them label-changing (to within one), in random order."""
        check_split(self.name, split)
        rng = stream(self.name, "pairs", split, n, seed)
        return [self._pair(split, change, rng) for change in alternate(n, rng)]

    def contrasts(self, split: str, n: int, seed: int) -> list[Contrast]:
        """`n` contrasts, each towards one of the targets, with the children's own answers as responses."""
        check_split(self.name, split)
        rng = stream(self.name, "contrasts", split, n, seed)
        found = []
        for i in range(n):
            target = self.targets[i % len(self.targets)]
            fact = _FACT_OF[target]
            without, having = (self._draw(split, fact, target, same, rng) for same in (False, True))
            negative, positive = (_prompt(child, fact, rng) for child in (without, having))
            concept = Concept(target.strip(), _worded(TOWARDS, split, fact, rng, target))
            no, yes = (f"{_HAS[child][fact]}." for child in (without, having))
            found.append(Contrast(negative, positive, no, yes, frozenset((without, having)), concept))
        return found

    def _pair(self, split: str, change: bool, rng: random.Random) -> CounterfactualPair:
        asked, base = rng.choice(list(FACTS)), rng.choice(_NAMES[split])
        own = _HAS[base][asked]
        source = self._draw(split, asked, own, False, rng)
        concept = asked if change else rng.choice([fact for fact in FACTS if fact != asked])
        inputs = {"name": base, "asked": asked}
        label = CAUSAL_MODEL.interchange(inputs, {concept: {**inputs, "name": source}})["answer"]
        read = {
            SOURCE: _prompt(source, rng.choice(list(FACTS)), rng),
            CONCEPT: _worded(ABOUT, split, concept, rng),
        }
        return CounterfactualPair(_prompt(base, asked, rng), read, own, label, entities=frozenset((base, source)))

    def _draw(self, split: str, fact: str, value: str, same: bool, rng: random.Random) -> str:
        """A child whose fact has this value, or the other one."""
        names = [name for name in _NAMES[split] if (_HAS[name][fact] == value) == same]
        check_count(self.name, split, f"children by {fact}", len(names), 1)
        return rng.choice(names)


def _intro(name: str, rng: random.Random) -> str:
    words = {key: rng.choice(choices) for key, choices in WORDS.items()}
    return rng.choice(INTROS).format(name=name, **words)


def _prompt(name: str, asked: str, rng: random.Random) -> Prompt:
    text = _intro(name, rng) + FACTS[asked].question
    return Prompt(text, {SPAN: _FINDER.find(text)})


def _worded(wordings: Sequence[str], split: str, fact: str, rng: random.Random, value: str = "") -> Prompt:
    wording = wordings[-1] if split == "test" else rng.choice(wordings[:-1])
    return Prompt(wording.format(noun=FACTS[fact].noun, value=value.strip()))
