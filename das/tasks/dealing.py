"""Which split a row comes into, so that splits share no entity. Torch-free.

Rows that say so themselves stay where they say. Others are dealt out: rows that share an entity, directly or through
other rows, come into one split together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from das.errors import ConfigError, EmptySplitError, EntityError
from das.tasks.base import SPLITS
from das.tasks.sieve import Sieve

T = TypeVar("T")

#: Shares of the rows that splits get where the file does not say.
SHARES: Mapping[str, float] = {"train": 0.6, "val": 0.2, "test": 0.2}


def deal(
    rows: Sequence[T],
    said: Sequence[str | None],
    entities: Callable[[T], frozenset[str]],
    where: Callable[[T], str | None],
    sieve: Sieve,
    shares: Mapping[str, float] = SHARES,
) -> dict[str, tuple[T, ...]]:
    """The rows of every split.

    Args:
        rows: all rows.
        said: the split each says it is in, or None.
        entities: what a row must share with no other split.
        where: its place in the file.
        sieve: leaves out rows of a second split, if it is not strict. Where no row says its split and rows are linked
            too much to be dealt out, it then lets the entities be dealt out and the rows in between be left out.
        shares: how much of the rows each split gets where they do not say.

    Raises:
        EntityError: an entity in two splits.
        EmptySplitError: the rows cannot be dealt out without one.
        ConfigError: shares that are none.
    """
    if min(shares.values(), default=0) < 0 or not set(shares) <= set(SPLITS) or sum(shares.values()) <= 0:
        raise ConfigError("these are no shares", got=dict(shares), remedy="give train, val and test, none negative")
    silent = [entities(row) for row, split in zip(rows, said, strict=True) if split is None]
    dealt, homes = _dealt(silent, shares, sieve.strict) if silent else ([], {})
    left = iter(dealt)
    chosen = [next(left) if split is None else split for split in said]
    owner: dict[str, tuple[str, str | None]] = {entity: (home, None) for entity, home in homes.items()}

    def apart(item: tuple[T, str]) -> tuple[T, str]:
        row, split = item
        for entity in sorted(entities(row)):
            other, first = owner.get(entity, (split, None))
            if other != split:
                raise EntityError(
                    f"an entity of split {split!r} is in {other!r} too",
                    got=repr(entity) + (f", also in {first}" if first else ""),
                    remedy="put both rows into one split",
                )
        owner.update({entity: (split, where(row)) for entity in entities(row) if entity not in owner})
        return item

    kept = sieve.sift(zip(rows, chosen, strict=True), apart, lambda item: where(item[0]))
    return {split: tuple(row for row, its in kept if its == split) for split in SPLITS}


def _dealt(
    entities: Sequence[frozenset[str]], shares: Mapping[str, float], strict: bool
) -> tuple[list[str], dict[str, str]]:
    """A split for every row; and for every entity, if these had to be dealt out."""
    linked = _linked(entities)
    found = _filled(linked, shares)
    wanted = {split for split, share in shares.items() if share}
    if wanted <= set(found):
        return found, {}
    if strict:
        raise EmptySplitError(
            "the rows cannot be dealt out to splits that share no entity, because they are linked by shared ones",
            got=f"{len(entities)} rows in {len(set(linked))} groups",
            remedy="deal out the entities (names, say) first, then pair within a split, and say which in a column "
            "'split'; or give a column 'entity' if rows share texts that are no entities; data.strict=false deals them "
            "out and leaves out the rows in between",
        )
    names = sorted(frozenset().union(*entities))
    home = dict(zip(names, _filled(names, shares), strict=True))
    return [home[min(one)] for one in entities], home


def _linked(entities: Sequence[frozenset[str]]) -> list[str]:
    """Per row the name of its group: the same one for rows that share an entity, directly or through others."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while (up := above.setdefault(name, name)) != name:
            above[name] = name = above[up]
        return name

    for one in entities:
        first = top(min(one))
        for name in one:
            above[top(name)] = first
    return [top(min(one)) for one in entities]


def _filled(groups: Sequence[str], shares: Mapping[str, float]) -> list[str]:
    """A split for every group: largest groups first, each to the split that lacks most."""
    size: dict[str, int] = {}
    for group in groups:
        size[group] = size.get(group, 0) + 1
    order = sorted(size)
    random.Random("das/splits").shuffle(order)
    lacks = {split: shares.get(split, 0.0) / sum(shares.values()) * len(groups) for split in SPLITS}
    home = {}
    for group in sorted(order, key=lambda name: -size[name]):
        home[group] = max(lacks, key=lambda split: lacks[split])
        lacks[home[group]] -= size[group]
    return [home[group] for group in groups]
