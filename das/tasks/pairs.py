"""pairs: your own interchange pairs from a file or a hub dataset, without writing code.

    base,source,base_label,counterfactual_label
    [[Tim]] ran.,[[Sue]] ran., he, she                 a label starts with its own space

Columns: `base`, `source` (or `source_1`, `source_2`, ...), `base_label` and `counterfactual_label` (what your causal
model says follows the base, as it is and under the interchange). Spans are `[[marks]]` in the texts (site.positions=
span:mark), or a column `base_spans`, `source_spans`, ... that holds {"name": [[start, end], ...]} in characters of the
text; then nothing else is a mark. `entity`, `source_entity`, ... say what splits must not share (a list, in JSON); the
texts of the prompts where there is no such column. `split` is train, val or test; where it is not there, rows that
share an entity are dealt out together. A split gives at most as many pairs as it has, in an order that depends on
the seed, as many label-changing ones as the file has. Torch-free; how files are read: `das.tasks.reading`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from das.errors import ConfigError, EmptySplitError, LabelError, PositionError, UnknownChoiceError
from das.tasks.base import check_count, check_split, stream
from das.tasks.cells import entities_of, prompt_of, split_of
from das.tasks.dealing import SHARES, deal
from das.tasks.reading import Row, read_rows
from das.tasks.sieve import Sieve
from das.types import MARK, CounterfactualPair, SpanFinder

_SOURCES = re.compile(r"source(_\d+)?")


class Pairs:
    """The pairs of a dataset; see the module's docstring.

    Args:
        path: a file, a folder, or a hub dataset, see `das.tasks.reading.read_rows`.
        sources: columns with sources; source, source_1, ... by default.
        labels: the label set; "file" is all labels of the file, None trains on labels of any length and has no set.
        mark: the span that [[marks]] are; None reads them as text.
        target: the source whose own continuation is the counterfactual label, for objectives that match its
            distribution; None where none is.
        shares: how much of the rows each split gets where the file does not say.
        strict: refuse the file for a bad row, rather than leave it out.

    Attributes:
        dropped: kind of error -> rows left out.

    Raises:
        ConfigError, RowError, LabelError, PositionError, EntityError: naming file and row.
        EmptySplitError: no rows that can be used; one label only; no row that changes it; splits without rows.
    """

    name = "pairs"
    finder: SpanFinder | None = None

    def __init__(
        self,
        path: str,
        sources: Sequence[str] | None = None,
        labels: Literal["file"] | Sequence[str] | None = "file",
        mark: str | None = MARK,
        target: str | None = None,
        shares: Mapping[str, float] = SHARES,
        strict: bool = True,
    ) -> None:
        rows = read_rows(path, ["base", *(sources or ()), "base_label", "counterfactual_label"])
        columns = tuple(sources or sorted({c for row in rows for c in row.values if _SOURCES.fullmatch(c)}))
        if not columns:
            raise ConfigError(f"{path} has no column 'source'", got=list(rows[0].values), remedy="rename one to source")
        if target is not None and target not in columns:
            raise UnknownChoiceError("target of pairs", target, columns)
        sieve, given = Sieve(strict), None if labels in ("file", None) else tuple(labels or ())
        read = partial(_pair, sources=columns, mark=mark, labels=given, target=target)
        needed = any(row.get("split") is not None for row in rows)
        pairs = sieve.sift(rows, lambda row: (read(row), split_of(row, needed)), lambda row: row.where)
        spans = _span_names([pair for pair, _ in pairs])
        pairs = sieve.sift(pairs, partial(_with_spans, spans=spans), lambda item: item[0].origin)
        found, said = zip(*pairs, strict=True)
        self._pairs = deal(found, said, lambda p: p.entities, lambda p: p.origin, sieve, shares)
        self.dropped: Mapping[str, int] = dict(sieve.dropped)
        every = [pair for found in self._pairs.values() for pair in found]
        known = dict.fromkeys(label for p in every for label in (p.base_label, p.counterfactual_label))
        self.labels = tuple(sorted(known)) if labels == "file" else given
        if not any(pair.changed for pair in every):
            raise EmptySplitError(
                f"no row of {path} changes its label, so nothing can be learned from it",
                got=f"{len(every)} rows with the labels {', '.join(map(repr, known))}",
                remedy="add rows with another counterfactual_label than base_label",
            )

    def entities(self, split: str) -> frozenset[str]:
        """What this split's pairs are about."""
        return frozenset().union(*(pair.entities for pair in self._of(split)))

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, or all there are where that is fewer, in random order."""
        found = list(self._of(split))
        stream(self.name, "pairs", split, n, seed).shuffle(found)
        return found[:n]

    def _of(self, split: str) -> tuple[CounterfactualPair, ...]:
        check_split(self.name, split)
        check_count(self.name, split, "rows", len(self._pairs[split]), 1)
        return self._pairs[split]


def _pair(
    row: Row, sources: Sequence[str], mark: str | None, labels: Sequence[str] | None, target: str | None
) -> CounterfactualPair:
    own, other = (_label(row, column, labels) for column in ("base_label", "counterfactual_label"))
    base, *read = (prompt_of(row, column, mark) for column in ("base", *sources))
    entities = entities_of(
        row, ["entity", *(f"{s}_entity" for s in ("base", *sources))], [base.text, *(p.text for p in read)]
    )
    return CounterfactualPair(base, dict(zip(sources, read, strict=True)), own, other, target, entities, row.where)


def _label(row: Row, column: str, labels: Sequence[str] | None) -> str:
    if row.get(column) is None:
        raise LabelError(f"there is no {column}", got="an empty cell", remedy="fill it in")
    label = row.text(column)
    if labels is not None and label not in labels:
        raise LabelError(
            f"{column} is not in the label set", got=f"{label!r}, the set is {tuple(labels)}",
            remedy="correct it (labels start with their own space), or add it to task.labels",
        )  # fmt: skip
    return label


def _span_names(pairs: Sequence[CounterfactualPair]) -> dict[str, frozenset[str]]:
    """The spans that any base has, and any source of each name."""
    found: dict[str, frozenset[str]] = {}
    for pair in pairs:
        for column, prompt in {"base": pair.base, **pair.sources}.items():
            found[column] = found.get(column, frozenset()) | frozenset(prompt.spans)
    return found


def _with_spans(
    item: tuple[CounterfactualPair, str | None], spans: Mapping[str, frozenset[str]]
) -> tuple[CounterfactualPair, str | None]:
    """The same, or PositionError where a prompt lacks a span that others of its column have."""
    for column, prompt in {"base": item[0].base, **item[0].sources}.items():
        if missing := spans[column] - frozenset(prompt.spans):
            raise PositionError(
                f"{column} has no span {', '.join(map(repr, sorted(missing)))}, which other rows have",
                got=prompt.text, remedy="mark the words as [[...]], or give their characters in the column of spans",
            )  # fmt: skip
    return item
