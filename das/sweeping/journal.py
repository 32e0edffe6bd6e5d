"""The cells of a sweep as they are finished, one JSON object per line; and what they are cells of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

from das.errors import InputError
from das.sweeping.grid import Cell

Row = dict[str, Any]

#: Cells as they are finished: what an interrupted sweep goes on from.
CELLS = "cells.jsonl"


@final
class Journal:
    """What an interrupted sweep goes on from.

    Args:
        file: where to; None keeps nothing.

    Raises:
        InputError: a line of the file is no row.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.rows = {} if file is None or not file.is_file() else _whole(file)

    def add(self, row: Row) -> None:
        """Write down a finished cell."""
        self.rows[_key(row)] = row
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as out:
                out.write(json.dumps(row) + "\n")

    def of(self, cell: Cell) -> Row | None:
        """The row of a cell, counted in this sweep's columns; None if it is not finished."""
        row = self.rows.get(cell.key)
        return None if row is None else {**row, "column": cell.column}


def _whole(file: Path) -> dict[Any, Row]:
    """All rows; a last line that a crash cut off is removed."""
    text = file.read_text()
    ended = text[: text.rfind("\n") + 1]
    if ended != text:
        file.write_text(ended)
    found = {}
    for number, line in enumerate(ended.splitlines(), 1):
        try:
            row = json.loads(line)
            found[_key(row)] = row
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            remedy = "remove the line, or give another run_dir"
            raise InputError(f"line {number} of {file} is no cell of a sweep", got=line[:80], remedy=remedy) from error
    return found


def _key(row: Row) -> tuple[Any, ...]:
    return row["layer"], row["positions"], row["rank"], row["seed"]
