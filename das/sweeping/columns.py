"""The token positions of a task's prompts as columns of a map, each with the text that stands there.

Tokens before the first named span are counted from the start and tokens after the last one from the end, so that every
column means the same place in all prompts although names differ in length; spans are columns of their own, as are the
tokens right after their mentions, and whatever else prompts of one structure have in between. Prompts without spans
are counted from the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from das.data.positions import parse_positions, resolve
from das.data.tokenize import EncodedPrompt
from das.errors import PositionError

#: What stands where less than half of the prompts have the same token.
VARIES = "…"


@dataclass(frozen=True)
class Column:
    """One column of a map.

    Attributes:
        positions: in the position grammar.
        text: of the token most prompts have there, the span's name in brackets, or "…".
    """

    positions: str
    text: str


def all_columns(prompts: Sequence[EncodedPrompt], decode: Callable[[int], str]) -> list[Column]:
    """Every position that all prompts have, in the order of the text.

    Args:
        prompts: bases and sources alike.
        decode: a token id as text.
    """
    names = list(dict.fromkeys(name for p in prompts for name in p.spans))
    shared = [name for name in names if all(name in p.spans for p in prompts)]
    inside = [sorted(i for found in p.spans.values() for group in found for i in group) for p in prompts]
    if not shared:
        return described([f"index:{-n}" for n in range(min(len(p) for p in prompts), 0, -1)], prompts, decode)
    before = min(tokens[0] for tokens in inside)
    after = min(len(p) - 1 - tokens[-1] for p, tokens in zip(prompts, inside, strict=True))
    spans = sorted(shared, key=lambda name: min(p.spans[name][0][0] for p in prompts))
    middle = [positions for name in spans for positions in (f"span:{name}", f"span:{name}:after")]
    if len({(len(p), tuple(tokens)) for p, tokens in zip(prompts, inside, strict=True)}) == 1:
        between = [i for i in range(before, len(prompts[0]) - after) if i not in inside[0]]
        middle = [f"span:{name}" for name in spans] + [f"index:{i}" for i in between]
    places = [f"index:{i}" for i in range(before)] + middle + [f"index:{-n}" for n in range(after, 0, -1)]
    return described(sorted(places, key=lambda text: _start(text, prompts[0])), prompts, decode)


def described(places: Sequence[str], prompts: Sequence[EncodedPrompt], decode: Callable[[int], str]) -> list[Column]:
    """Columns of given positions, those left out that some prompt does not have.

    Raises:
        PositionError: no position is in all prompts.
    """
    found = []
    for text in places:
        try:
            at = [[i for group in resolve(parse_positions(text), p) for i in group] for p in prompts]
        except PositionError as error:
            missing = error
            continue
        found.append(Column(text, _label(text, prompts, at, decode)))
    if not found:
        raise missing
    return found


def _label(
    text: str, prompts: Sequence[EncodedPrompt], at: Sequence[Sequence[int]], decode: Callable[[int], str]
) -> str:
    spec = parse_positions(text)
    if spec.kind == "span":
        return f"[{spec.name}{' +1' if spec.part == 'after' else spec.part and ' ' + spec.part}]"
    ids = Counter(p.ids[i[0]] for p, i in zip(prompts, at, strict=True) if len(i) == 1)
    if not ids or ids.most_common(1)[0][1] < len(prompts) / 2:
        return VARIES
    return decode(ids.most_common(1)[0][0]).strip() or "␣"


def _start(text: str, prompt: EncodedPrompt) -> tuple[int, int]:
    """Where a column stands in a prompt; spans before what follows their first mention."""
    try:
        groups = resolve(parse_positions(text), prompt)
    except PositionError:
        return len(prompt), 0
    return groups[0][0], len(groups)
