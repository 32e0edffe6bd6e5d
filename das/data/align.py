"""Which source token each base token reads.

Both sides come as groups (one per mention, or one in all). Groups are paired in order; inside a group, tokens are
right-aligned and as many take part as the shortest side has: last tokens meet, and the excess leading tokens of a
longer mention are neither written nor read. (Writing those with some other token's activation measured worse where a
tokenizer splits names into 1 to 5 tokens.) A single source position is broadcast to all written ones, unless both sides
are mentions of spans: then a mention of one token is a mention like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

from das.errors import PositionError

Groups = list[list[int]]


def is_broadcast(reads: Groups) -> bool:
    """Whether the read side is exactly one position in all."""
    return sum(map(len, reads)) == 1


def align(writes: Groups, reads: Sequence[Groups], mentions: bool = False) -> tuple[list[int], list[list[int]]]:
    """The base indices that are written, and for every source the index each of them reads.

    Args:
        writes: groups of the base.
        reads: groups of each source.
        mentions: whether groups on both sides are mentions of spans, so that they pair up where they are equally many.

    Raises:
        PositionError: if the numbers of groups differ and a read side is not a single position.
    """
    wide = [is_broadcast(source) and not (mentions and len(source) == len(writes)) for source in reads]
    several = [source for source, one in zip(reads, wide, strict=True) if not one]
    for source in several:
        if len(source) != len(writes):
            raise PositionError(
                "base and source positions cannot be aligned: they have different numbers of mentions",
                got=f"written {writes}, read {source}",
                remedy="use prompts that mention the span equally often, or read a single position, which is broadcast",
            )
    shared = [min(len(groups[i]) for groups in (writes, *several)) for i in range(len(writes))]
    base = _ends(writes, shared)
    return base, [[s[0][0]] * len(base) if one else _ends(s, shared) for s, one in zip(reads, wide, strict=True)]


def _ends(groups: Groups, lengths: Sequence[int]) -> list[int]:
    return [i for group, length in zip(groups, lengths, strict=True) for i in group[len(group) - length :]]
