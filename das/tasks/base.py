"""What a task is: text, labels and a causal model's answers. Torch-free.

A task turns a causal model into counterfactual pairs of prompts. Splits share no entity (names, cities, ...), so what
is learned on `train` is measured on entities it has never seen. `stream` and `check` are what all samplers need.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from das.errors import EmptySplitError, UnknownChoiceError
from das.types import Contrast, CounterfactualPair, Prompt, SpanFinder

T = TypeVar("T")

#: The splits every task has; a task may leave one empty.
SPLITS: tuple[str, ...] = ("train", "val", "test")


@runtime_checkable
class Task(Protocol):
    """A sampler of counterfactual pairs, deterministic per (split, n, seed).

    Attributes:
        name: the task's name, e.g. "name_gender".
        labels: the label set over which interchange intervention accuracy takes its argmax, each with its own leading
            space; None where labels are free text.
        finder: how to find the intervened span in raw text, or None.

    Methods raise `UnknownChoiceError` for a split that does not exist and `EmptySplitError` for one without entities,
    or with too few of them for what was asked.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> tuple[str, ...] | None: ...  # noqa: D102
    @property
    def finder(self) -> SpanFinder | None: ...  # noqa: D102

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` counterfactual pairs, label-changing ones and others in the task's stated proportion."""
        ...

    def entities(self, split: str) -> frozenset[str]:
        """What this split shares with no other."""
        ...


@runtime_checkable
class ContrastTask(Protocol):
    """A task that also has contrast quadruples, with the concept and without it."""

    def contrasts(self, split: str, n: int, seed: int) -> list[Contrast]:
        """`n` contrasts; the model under study writes the responses that are missing."""
        ...


@runtime_checkable
class ConceptTask(Protocol):
    """A task about a concept with two values, whose prompts show one or the other: it can be steered.

    Attributes:
        positive, negative: labels of the value that a positive factor steers towards, and of the other one.
        concept_words: "positive" and "negative" -> words that show the value in generated text; empty where none do.
    """

    @property
    def positive(self) -> str: ...  # noqa: D102
    @property
    def negative(self) -> str: ...  # noqa: D102
    @property
    def concept_words(self) -> Mapping[str, tuple[str, ...]]: ...  # noqa: D102

    def prompts(self, split: str, n: int, seed: int) -> list[tuple[Prompt, str]]:
        """`n` prompts with the label the causal model gives them, balanced over concept values."""
        ...


@runtime_checkable
class Floored(Protocol):
    """A task that states what knowing nothing of its variables scores on its pairs.

    Attributes:
        floors: "base" and every source's name -> interchange intervention accuracy of giving that prompt's own answer.
    """

    @property
    def floors(self) -> Mapping[str, float]: ...  # noqa: D102


def check_split(task: str, split: str, splits: Iterable[str] = SPLITS) -> None:
    """Raise `UnknownChoiceError` unless `split` is one of `splits`."""
    if split not in (known := tuple(splits)):
        raise UnknownChoiceError(f"split of {task}", split, known)


def check_count(task: str, split: str, what: str, got: int, needed: int) -> None:
    """Raise `EmptySplitError` where a split has fewer entities of a kind than a sampler needs."""
    if got < needed:
        raise EmptySplitError(
            f"split {split!r} of {task} has too few {what}",
            got=f"{got}, needs {needed}",
            remedy="use another split, or give it more entities",
        )


def stream(task: str, kind: str, split: str, n: int, seed: int) -> random.Random:
    """The generator of one call: another (kind, split, n, seed) is another stream, on every platform the same."""
    return random.Random(f"{task}/{kind}/{split}/{n}/{seed}")


def alternate(n: int, rng: random.Random) -> list[bool]:
    """`n` booleans in random order, half of them true (one more or one less, at random, where `n` is odd)."""
    values = [i % 2 == 0 for i in range(n)]
    flip = n % 2 == 1 and rng.random() < 0.5
    rng.shuffle(values)
    return [v != flip for v in values]


def deal(cells: Sequence[T], n: int, rng: random.Random) -> list[T]:
    """`n` cells in random order, each as often as any other (to within one)."""
    dealt = [*cells] * (n // len(cells)) + rng.sample(cells, n % len(cells))
    rng.shuffle(dealt)
    return dealt


def split_up(entities: Sequence[str], sizes: Mapping[str, int], key: str) -> dict[str, tuple[str, ...]]:
    """Entities dealt out to the splits by a shuffle that depends on `key` alone: common and rare ones end up in all."""
    words, dealt, start = list(entities), {}, 0
    random.Random(key).shuffle(words)
    for split in SPLITS:
        end = start + sizes.get(split, 0)
        dealt[split], start = tuple(words[start:end]), end
    return dealt
