"""Rows to be, as text and as tokens; and how an error says which row it is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from das.data.tokenize import EncodedPrompt
from das.errors import InputError
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


@contextmanager
def naming(row: int) -> Iterator[None]:
    """Put the row's number into an input error."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"row {row}: {error.what}", got=error.got, remedy=error.remedy) from error
