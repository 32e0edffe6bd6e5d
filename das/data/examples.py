"""Rows to be, as text and as tokens; and how an error says which row it is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from das.data.tokenize import EncodedPrompt
from das.errors import ContextLengthError, InputError, LabelError, PositionError
from das.tasks.sieve import WAY_OUT
from das.types import CounterfactualPair


@dataclass(frozen=True)
class Example:
    """A row to be: a pair, and what else is known of it.

    Attributes:
        pair: the pair.
        label_ids: its label's token ids where they are given rather than tokenized after the prompt.
        numbers: name -> value, handed on per row to interventions and objectives.
    """

    pair: CounterfactualPair
    label_ids: tuple[int, ...] | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """An example in tokens: base, sources, counterfactual label and the choices after the base."""

    example: Example
    base: EncodedPrompt
    sources: Mapping[str, EncodedPrompt]
    label_ids: tuple[int, ...]
    choices: tuple[int, ...] = ()

    @property
    def pair(self) -> CounterfactualPair:
        """The pair."""
        return self.example.pair

    @property
    def numbers(self) -> Mapping[str, float]:
        """The example's, and the pair's own under "value"."""
        return self.example.numbers if self.pair.value is None else {**self.example.numbers, "value": self.pair.value}


def labels_of(pair: CounterfactualPair) -> tuple[str, ...]:
    """The base's label, the counterfactual one and, if there is one, the rival."""
    return pair.base_label, pair.counterfactual_label, *(() if pair.rival is None else (pair.rival,))


#: What is wrong with one row rather than with all of them.
ROW_ERRORS = (PositionError, LabelError, ContextLengthError)


@contextmanager
def naming(row: int, pair: CounterfactualPair) -> Iterator[None]:
    """Put the row's number, or the place it was read from, into an input error."""
    try:
        yield
    except InputError as error:
        where, remedy = f"row {row}", error.remedy
        if pair.origin is not None:
            where = pair.origin
            if isinstance(error, ROW_ERRORS):
                remedy += WAY_OUT
        raise type(error)(f"{where}: {error.what}", got=error.got, remedy=remedy) from error
