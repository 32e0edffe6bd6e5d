"""Columns of what each placement writes and reads, in every row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from das.data.align import Groups, align, is_broadcast
from das.data.examples import Encoded, naming
from das.data.positions import PositionSpec, parse_positions, resolve
from das.errors import ConfigError, InputError
from das.interventions.sets import InterventionSet
from das.types import Site

Columns = dict[str, list[Any]]


class Where(NamedTuple):
    """What one intervention writes in the base, what it reads in each source, and whether the two are aligned.

    Sources named in `free` never are.
    """

    write: str | PositionSpec
    reads: Mapping[str, str | PositionSpec]
    aligned: bool = True
    free: Collection[str] = ()

    def at(self, positions: str) -> Where:
        """The same at other positions, written and read; sources in `free` are read where they were."""
        reads = {name: read if name in self.free else positions for name, read in self.reads.items()}
        return self._replace(write=positions, reads=reads)


def where_of(interventions: InterventionSet, watch: Sequence[Site] = ()) -> list[Where]:
    """What placements write and read, and watched sites, in the order of a batch's positions."""
    written = [
        Where(p.write.positions, {n: r.positions for n, r in p.reads.items()}, x.edit.aligned, x.seen)
        for p, x in zip(interventions.placements, interventions, strict=True)
    ]
    return written + [Where(site.positions, {}) for site in watch]


def placed(encoded: Sequence[Encoded], number: int, where: Where) -> Columns:
    """write:NUMBER and read:NUMBER:SOURCE of all rows.

    Raises:
        ConfigError: a source that the pairs do not have.
        PositionError: naming the row, where positions do not exist or cannot be aligned.
    """
    write, reads = _parsed(where.write), {name: _parsed(read) for name, read in where.reads.items()}
    groups: list[tuple[Groups, dict[str, Groups]]] = []
    for row, e in enumerate(encoded):
        with naming(row, e.pair):
            response = len(e.label_ids) - 1
            for name in reads:
                if name not in e.sources:
                    raise ConfigError(
                        f"a site reads source {name!r}, which pairs do not have", got=sorted(e.sources),
                        remedy="name the method's sources as the task's pairs do, or use a task that has them",
                    )  # fmt: skip
            found = {name: resolve(read, e.sources[name], response) for name, read in reads.items()}
            groups.append((resolve(write, e.base, response), found))
    bound = [name for name in reads if where.aligned and name not in where.free]
    mentions = write.kind == "span" and all(reads[name].kind == "span" for name in bound)
    out: Columns = {f"write:{number}": [], **{f"read:{number}:{name}": [] for name in reads}}
    for row, (e, (base, sources)) in enumerate(zip(encoded, groups, strict=True)):
        with naming(row, e.pair):
            written, aligned = _aligned(e, base, [sources[name] for name in bound], mentions)
            out[f"write:{number}"].append(written)
            read = {name: _flat(found) for name, found in sources.items()}
            for name, read_at in {**read, **dict(zip(bound, aligned, strict=True))}.items():
                out[f"read:{number}:{name}"].append(read_at)
    for name in bound:
        if not mentions and all(is_broadcast(sources[name]) for _, sources in groups):
            out[f"read:{number}:{name}"] = [sources[name][0][:1] for _, sources in groups]
    return out


def _aligned(
    encoded: Encoded, base: Groups, sources: Sequence[Groups], mentions: bool
) -> tuple[list[int], list[list[int]]]:
    try:
        return align(base, sources, mentions)
    except InputError as error:
        texts = "; ".join(f"{name} {prompt.text!r}" for name, prompt in encoded.sources.items())
        got = f"{error.got} in base {encoded.base.text!r}; {texts}"
        raise type(error)(error.what, got=got, remedy=error.remedy) from error


def _flat(groups: Groups) -> list[int]:
    return [i for group in groups for i in group]


def _parsed(spec: str | PositionSpec) -> PositionSpec:
    return parse_positions(spec) if isinstance(spec, str) else spec
