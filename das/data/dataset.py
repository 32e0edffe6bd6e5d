"""Counterfactual pairs as an Arrow table of token ids, and batches of it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from copy import copy
from typing import Any, final

import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint
from datasets.table import InMemoryTable

from das.batch import PairBatch
from das.data.collate import Layout, collate
from das.data.encode import Encoder
from das.data.examples import ROW_ERRORS, Encoded, Example
from das.data.placing import Columns, Where
from das.data.responses import WrittenContrast, from_texts
from das.data.rows import columns, encode_examples
from das.data.usable import Usable, placeable, usable
from das.errors import ConfigError, PositionError, UnknownChoiceError
from das.types import Contrast, CounterfactualPair

Item = CounterfactualPair | Contrast | WrittenContrast | Example

_BOOLS = ("changed",)
_SCALARS = ("base_prompt", "source_prompt", "base_choice", "counterfactual_choice", "rival_choice")


@final
class PairDataset:
    """Tokenized counterfactual pairs; everything about the data is checked once, here.

    Args:
        items: pairs; or contrasts, each of which becomes two adjacent rows (elicit, suppress), a group of 2.
        encoder: how to tokenize.
        sites: per placement of the InterventionSet, where the base is written and where each source is read.
        labels: the task's label set; each must be one distinct token after every base prompt.
        padding_side: "left" or "right".
        group: adjacent rows that belong together, where the items are rows already (`Example`).
        strict: raise for a row that cannot be used, rather than leave it out.
        about: what it is, for people.

    Attributes:
        table: the Arrow table; `das.data.rows` documents its columns.
        examples: the rows' pairs, with label ids where these were given.
        encoded: the rows' prompts and labels as tokens.
        pairs: the pairs, in row order.
        group: rows that belong together: 1, or 2 for contrasts.
        labels: the label set; if not strict, without labels that only rows which were left out have.
        strict: whether a row that cannot be used is an error.
        dropped: kind of error -> rows left out.

    Raises:
        EmptySplitError: without items, or with none that can be used.
        PositionError, LabelError, ContextLengthError: naming the row and the prompt.
        ConfigError: if pairs and contrasts are mixed, or pairs differ in source names or target.
    """

    def __init__(
        self,
        items: Sequence[Item],
        encoder: Encoder,
        sites: Sequence[Where | tuple[Any, ...]],
        *,
        labels: tuple[str, ...] | None = None,
        padding_side: str = "left",
        group: int = 1,
        strict: bool = True,
        about: str = "",
    ) -> None:
        if padding_side not in ("left", "right"):
            raise UnknownChoiceError("padding side", padding_side, ("left", "right"))
        self.strict = strict
        examples, grouped = _examples(items, encoder)
        self.group = max(group, grouped)
        assert len(examples) % self.group == 0, "a group is not complete"
        self.about = about
        self._padding = (padding_side, encoder.pad_id)
        try:
            self._fill(Usable(examples, labels, {}), encoder, sites)
        except ROW_ERRORS:
            if strict:
                raise
            self._fill(usable(examples, encoder, _places(sites), labels, self.group), encoder, sites)

    def at(self, sites: Sequence[Where | tuple[Any, ...]]) -> PairDataset:
        """The same rows under the same numbers, with other positions; nothing is tokenized again.

        No row is left out, whatever `strict` is: recordings know rows by their numbers, and what is compared across
        positions must be the same rows. `having` leaves rows out, before anything is recorded.

        Raises:
            PositionError: naming the row and the prompt.
        """
        moved = copy(self)
        try:
            moved._place(sites)
        except PositionError as error:
            if self.strict:
                raise
            remedy = "choose positions that all rows have, or first leave out those that do not: PairDataset.having"
            raise PositionError(error.what, got=error.got, remedy=remedy) from error
        return moved

    def having(self, sites: Sequence[Where | tuple[Any, ...]]) -> PairDataset:
        """The rows that have other positions as well; these are numbered anew and keep the positions they are at.

        Rows that do not are an error if the dataset is strict; else they are left out with their group, counted in
        `dropped` and logged.

        Raises:
            PositionError: if strict, naming the row and the prompt.
            EmptySplitError: if not strict, and no row is left.
        """
        try:
            self.at(sites)
        except PositionError:
            if self.strict:
                raise
        else:
            return self
        found, dropped = copy(self), Counter(self.dropped)
        kept = placeable(self.encoded, _places(sites), self.group, dropped)
        found.dropped = dict(dropped)
        found._keep(kept)
        found._place(self._sites)
        return found

    def _fill(self, found: Usable, encoder: Encoder, sites: Sequence[Where | tuple[Any, ...]]) -> None:
        self.labels, self.dropped = found.labels, found.dropped
        self._keep(encode_examples(found.examples, encoder, found.labels))
        self._place(sites)

    def _keep(self, encoded: Sequence[Encoded]) -> None:
        self.encoded = list(encoded)
        self.examples = tuple(e.example for e in encoded)
        self.pairs = tuple(e.pair for e in encoded)

    def _place(self, sites: Sequence[Where | tuple[Any, ...]]) -> None:
        self._sites = places = _places(sites)
        self.table = _arrow(columns(self.encoded, places, self.labels))
        self._fingerprint: str | None = None
        reads = tuple(tuple(place.reads) for place in places)
        sources, target = tuple(self.encoded[0].sources), self.pairs[0].target
        self._layout = Layout(*self._padding, sources, target, reads, self.group)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def fingerprint(self) -> str:
        """A hash of all columns, for cache keys; padding does not enter."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for name in sorted(self.table.column_names):
                digest.update(json.dumps([name, list(self.table[name])]).encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def collate(self, rows: Sequence[int], draws: str = "") -> PairBatch:
        """The batch of the given rows, in that order; indices count columns of its padded ids.

        Args:
            rows: row numbers.
            draws: names the stream that the batch's random numbers are drawn from, one stream per row.
        """
        rows = [int(row) for row in rows]
        return collate(self.table[rows], rows, self._layout, draws)


def _places(sites: Sequence[Where | tuple[Any, ...]]) -> list[Where]:
    return [Where(*site) for site in sites]


def _examples(items: Sequence[Item], encoder: Encoder) -> tuple[list[Example], int]:
    """Rows of all items, and how many belong together."""
    rows: list[Example] = []
    contrasts: list[WrittenContrast] = []
    for item in items:
        if isinstance(item, CounterfactualPair | Example):
            rows.append(item if isinstance(item, Example) else Example(item))
        else:
            contrasts.append(item if isinstance(item, WrittenContrast) else from_texts(item, encoder))
    if rows and contrasts:
        raise ConfigError(
            "pairs and contrasts cannot be mixed in one dataset",
            got=f"{len(rows)} pairs among {len(items)} items",
            remedy="make two datasets",
        )
    if contrasts:
        return [example for contrast in contrasts for example in contrast.examples()], 2
    return rows, 1


def _arrow(data: Columns) -> Dataset:
    """Typed Arrow columns; `Dataset.from_dict` takes ten times as long, most of it for a hash that nobody asks for."""
    schema = pa.schema([(name, _type(name)) for name in data])
    return Dataset(InMemoryTable(pa.table(data, schema=schema)), fingerprint=generate_random_fingerprint())


def _type(name: str) -> pa.DataType:
    if name in _BOOLS:
        return pa.bool_()
    kind = name.split(":")[0]
    if kind == "row":
        return pa.float32()
    return pa.int32() if kind in _SCALARS else pa.list_(pa.int32())
