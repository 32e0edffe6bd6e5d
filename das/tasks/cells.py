"""What the cells of a row mean: prompts with their spans, splits, entities. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

from das.errors import PositionError, RowError
from das.tasks.base import SPLITS
from das.tasks.reading import Row
from das.types import Prompt

_SAME = {"validation": "val", "valid": "val", "dev": "val"}


def prompt_of(row: Row, column: str, mark: str | None) -> Prompt:
    """A prompt with its spans: of the column "COLUMN_spans" where that is filled in, else of [[marks]] in the text.

    Args:
        row: the row.
        column: where the text is.
        mark: the name of what is marked; None reads no marks.

    Raises:
        RowError: no text, or spans that are no {"name": [[start, end], ...]}.
        PositionError: a mark that is empty or not closed; a span outside the text, on white space, or overlapping
            itself.
    """
    text, given = row.text(column), row.get(f"{column}_spans")
    if given is None:
        return Prompt(text) if mark is None else _marked(text, mark, column)
    try:
        found = json.loads(given) if isinstance(given, str) else given
        spans = {str(k): tuple(sorted((int(a), int(b)) for a, b in v)) for k, v in found.items() if v is not None}
    except (TypeError, ValueError, AttributeError) as error:
        raise RowError(
            f"{column}_spans cannot be read",
            got=repr(given),
            remedy='write {"name": [[start, end], ...]} in characters',
        ) from error
    prompt = Prompt(text, {name: mentions for name, mentions in spans.items() if mentions})
    for name, mentions in prompt.spans.items():
        if any(not text[a:b].strip() for a, b in mentions):
            raise PositionError(f"span {name!r} of {column} covers white space only", got=mentions, remedy="move it")
        if any(end > start for (_, end), (start, _) in pairwise(mentions)):
            raise PositionError(f"mentions of span {name!r} of {column} overlap", got=mentions, remedy="separate them")
    return prompt


def _marked(text: str, mark: str, column: str) -> Prompt:
    prompt = Prompt.from_marked(text, mark)
    if "[[" in prompt.text:  # another mark closed both
        raise PositionError(
            f"a mark of {column} is not closed: '[[' without ']]'", got=text,
            remedy="close it: [[words]], or give task.mark=null if the brackets are text",
        )  # fmt: skip
    return prompt


def split_of(row: Row, needed: bool) -> str | None:
    """What the column "split" says: train, val (validation, dev) or test.

    Raises:
        RowError: something else; or nothing, where other rows say it.
    """
    said = row.maybe("split")
    if said is None and needed:
        raise RowError("it does not say its split, and other rows do", got="an empty cell", remedy="fill it in")
    split = None if said is None else _SAME.get(said.strip().lower(), said.strip().lower())
    if split is not None and split not in SPLITS:
        raise RowError("unknown split", got=repr(said), remedy=f"write one of {', '.join(SPLITS)}")
    return split


def entities_of(row: Row, columns: Sequence[str], texts: Sequence[str]) -> frozenset[str]:
    """What is said in the columns that are there (one entity, or a list of them); else the texts themselves.

    Raises:
        RowError: an empty cell.
    """
    there = [column for column in columns if column in row.values]
    if not there:
        return frozenset(texts)
    cells = [row.values[column] for column in there]
    named = [one for cell in cells for one in (cell if isinstance(cell, list) else [cell])]
    if not all(named):
        raise RowError("a row without an entity", got=repr(cells), remedy="fill in its entity")
    return frozenset(map(str, named))
