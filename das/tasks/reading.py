"""Rows of files and of hub datasets. Torch-free.

CSV and JSON are read with the standard library, cell by cell as they are written: readers that guess types turn the
label " 5" into the number 5, "None" into nothing, and a date into another text. Parquet files have types and go through
pyarrow; folders and the hub through `datasets`. Both are imported when something is read.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.errors import ConfigError, EmptySplitError, InputError, RowError

Cells = Mapping[str, Any]

_HUB = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?::(?P<subset>[^@]+))?(?:@(?P<revision>.+))?")


@dataclass(frozen=True)
class Row:
    """A row and where it is ("pairs.csv, row 3"; rows count from 1)."""

    where: str
    values: Cells

    def get(self, column: str) -> Any:
        """What a cell holds; None where it is empty or absent."""
        value = self.values.get(column)
        return None if isinstance(value, str) and not value else value

    def text(self, column: str) -> str:
        """A cell that must hold text; integers are written out.

        Raises:
            RowError: it is empty, or no text.
        """
        value = self.get(column)
        if value is None:
            raise RowError(f"there is no {column}", got="an empty cell", remedy="fill it in")
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise RowError(f"{column} is no text", got=repr(value), remedy="write it as a text")
        return str(value)

    def maybe(self, column: str) -> str | None:
        """`text`, or None where the cell is empty or absent."""
        return None if self.get(column) is None else self.text(column)


def read_rows(path: str, needed: Iterable[str]) -> list[Row]:
    """All rows of a dataset.

    Args:
        path: a CSV, JSON (a list of objects), JSON-lines or parquet file; a folder of them; a hub dataset, as
            "owner/name", "owner/name:subset" or "owner/name@revision"; or one of its files, "hf://datasets/...".
            Rows of a dataset with splits of its own say which in the column "split".
        needed: columns that must be there.

    Raises:
        ConfigError: nothing there, nothing that can be read, or no such column.
        EmptySplitError: no rows.
    """
    rows = [Row(f"{name}, row {i}", values) for name, i, values in _cells(path)]
    if not rows:
        raise EmptySplitError("a file without rows", got=path, remedy="give one that has some")
    columns = dict.fromkeys(name for row in rows for name in row.values)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ConfigError(
            f"{path} has no column {', '.join(map(repr, missing))}", got=f"the columns {', '.join(map(repr, columns))}",
            remedy="rename the file's columns",
        )  # fmt: skip
    return rows


def _cells(path: str) -> Iterable[tuple[str, int, Cells]]:
    """File name, number and cells of every row."""
    file = Path(path).expanduser()
    if file.is_file() and (read := _READERS.get(file.suffix)):
        try:
            yield from ((file.name, i, cells) for i, cells in read(file))
        except InputError:
            raise
        except (csv.Error, ValueError) as error:  # quotes, encodings, what is no parquet file
            raise ConfigError(
                f"{file.name} cannot be read", got=str(error), remedy="write it anew, as UTF-8"
            ) from error
    elif path.startswith("hf://"):
        yield from _splits(path, _loaded(path, "parquet", data_files=path))
    elif file.is_dir():
        yield from _splits(path, _loaded(path, str(file)))
    elif file.suffix not in _READERS and (hub := _HUB.fullmatch(path)):
        yield from _splits(path, _loaded(path, hub["id"], hub["subset"], revision=hub["revision"]))
    else:
        raise ConfigError(
            "no such dataset",
            got=path,
            remedy=f"give a file ({', '.join(_READERS)}), a folder, or a hub dataset as owner/name",
        )


def _splits(path: str, loaded: Mapping[str, Iterable[Cells]]) -> Iterable[tuple[str, int, Cells]]:
    """Rows of a dataset with splits; where there are several, each row says which is its own."""
    for split, rows in loaded.items():
        said = {"split": split} if len(loaded) > 1 else {}
        yield from _numbered(f"{path} ({split})", ({**said, **cells} for cells in rows))


def _numbered(name: str, rows: Iterable[Cells]) -> Iterable[tuple[str, int, Cells]]:
    return ((name, i, cells) for i, cells in enumerate(rows, start=1))


def _csv(file: Path) -> Iterable[tuple[int, Cells]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        for i, cells in enumerate(csv.DictReader(opened, strict=True), start=1):
            if None in cells:
                raise RowError(f"{file.name}, row {i}: more cells than columns", got=cells, remedy="quote its commas")
            yield i, cells


def _json(file: Path) -> Iterable[tuple[int, Cells]]:
    text = file.read_text(encoding="utf-8")
    lines = [(i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for i, piece in lines if file.suffix == ".jsonl" else [(None, text)]:
        try:
            found = json.loads(piece)
        except json.JSONDecodeError as error:
            where = file.name if i is None else f"{file.name}, row {i}"
            raise RowError(f"{where}: this is no JSON", got=str(error), remedy="correct it") from error
        numbered = enumerate(found if isinstance(found, list) else [found], start=1) if i is None else [(i, found)]
        for number, cells in numbered:
            if not isinstance(cells, dict):
                raise RowError(f"{file.name}, row {number}: no JSON object", got=repr(cells), remedy="write {...}")
            yield number, cells


def _parquet(file: Path) -> Iterable[tuple[int, Cells]]:
    from pyarrow import parquet

    return enumerate(parquet.read_table(file).to_pylist(), start=1)


_READERS = {".csv": _csv, ".json": _json, ".jsonl": _json, ".parquet": _parquet}


def _loaded(path: str, *args: str | None, **kwargs: Any) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(*args, **kwargs)
    except (OSError, ValueError, DatasetsError) as error:  # missing files, no connection, columns that differ
        raise ConfigError(
            "this dataset cannot be loaded", got=f"{path}: {error}", remedy="check its name, or give one of its files"
        ) from error
