"""The causal model of `das.tasks.ioi`, and the sources that reuse a base's names. Torch-free.

On the names A, B and C in order of mention, where C is one of A and B:

    output_position = 1 if C = A else 0        output_token = (A, B)[output_position]        answer = output_token
"""

from __future__ import annotations

from collections.abc import Mapping

from das.errors import UnknownChoiceError
from das.tasks.causal import CausalModel
from das.tasks.ioi_words import FIELDS

VARIABLES = ("output_token", "output_position")
#: The inputs.
NAMED = FIELDS[:3]
#: MIB's sources: the base itself, A and B exchanged, C the other name, both.
FLIPS = ("same", "s1_io_flip", "s2_io_flip", "s1_io_flip_s2_io_flip")

CAUSAL_MODEL = CausalModel(
    parents={
        **dict.fromkeys(NAMED, ()),
        "output_position": ("name_A", "name_C"),
        "output_token": ("name_A", "name_B", "output_position"),
        "answer": ("output_token",),
    },
    mechanisms={
        "output_position": lambda a, c: int(c == a),
        "output_token": lambda a, b, position: (a, b)[position],
        "answer": lambda token: f" {token}",
    },
)
Names = dict[str, str]


def named(a: str, b: str, position: int) -> Names:
    """Names whose indirect object is at a position."""
    return {"name_A": a, "name_B": b, "name_C": (b, a)[position]}


def flipped(base: Mapping[str, str], kind: str) -> Names:
    """The names of a source that reuses the base's.

    Raises:
        UnknownChoiceError: none of `FLIPS`.
    """
    a, b, c = (base[name] for name in NAMED)
    other = b if c == a else a
    found = {"same": (a, b, c), "s1_io_flip": (b, a, c), "s2_io_flip": (a, b, other)}
    found |= {"s1_io_flip_s2_io_flip": (b, a, other)}
    if kind not in found:
        raise UnknownChoiceError("flip of ioi", kind, FLIPS)
    return dict(zip(NAMED, found[kind], strict=True))
