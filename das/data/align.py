"""Which source token each base token reads.

Both sides come as groups (one per mention, or one in all). Groups are paired in order; inside a group, tokens are
right-aligned: the base token j from the end reads the source token min(j, n_source - 1) from the end. So every base
token is written, last tokens meet, and excess leading base tokens read the source mention's first token. A single
source position is broadcast to all written ones.
"""

from __future__ import annotations

from das.errors import PositionError

Groups = list[list[int]]


def is_broadcast(reads: Groups) -> bool:
    """Whether the read side is exactly one position in all."""
    return sum(map(len, reads)) == 1


def align(writes: Groups, reads: Groups) -> list[int]:
    """The source index that each base index reads, in the order of the flattened `writes`.

    Raises:
        PositionError: if the numbers of groups differ and the read side is not a single position.
    """
    if is_broadcast(reads):
        return [reads[0][0]] * sum(map(len, writes))
    if len(writes) != len(reads):
        raise PositionError(
            "base and source positions cannot be aligned: they have different numbers of mentions",
            got=f"written {writes}, read {reads}",
            remedy="use prompts that mention the span equally often, or read a single position, which is broadcast",
        )
    out: list[int] = []
    for base, source in zip(writes, reads, strict=True):
        out += [source[max(0, len(source) - len(base) + j)] for j in range(len(base))]
    return out
