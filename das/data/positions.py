"""The position grammar: where a site reads and writes, parsed once, resolved per prompt.

    last                last prompt token                   first            first prompt token after the prefix
    prompt              every prompt token after the prefix generated        response tokens only
    all                 `prompt` and `generated`            from:N           real position >= N, prompt or response
    index:N             N-th prompt token, from the first real token; negative from the prompt's end
    fN, lM, fN+lM       first N / last M prompt tokens after the prefix (as many as there are)
    span:NAME           every token of every mention        span:NAME:first, span:NAME:last    one token per mention
    span:NAME:after     the token after every mention
    template:TEXT       the token on which the last occurrence of TEXT in the prompt ends (CDAS' source tokens)

The prefix is what every prompt starts with (BOS, chat header). Indices count from a row's first real token, never from
a padded column: indexing columns under left padding is a defect of the CDAS reference code (arXiv 2602.05234).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from das.data.tokenize import EncodedPrompt
from das.errors import PositionError, UnknownChoiceError

#: Forms of the grammar, as error messages list them.
GRAMMAR = (
    *("last", "first", "all", "prompt", "generated", "index:N", "fN", "lM", "fN+lM"),
    *("span:NAME", "span:NAME:first", "span:NAME:last", "span:NAME:after", "from:N", "template:TEXT"),
)
_FORMS = {
    "word": re.compile(r"last|first|all|prompt|generated"),
    "index": re.compile(r"index:(?P<number>-?\d+)"),
    "ends": re.compile(r"f(?P<front>[1-9]\d*)(\+l(?P<back>[1-9]\d*))?|l(?P<only>[1-9]\d*)"),
    "span": re.compile(r"span:(?P<name>[^:]+)(:(?P<part>first|last|after))?"),
    "from": re.compile(r"from:(?P<number>\d+)"),
    "template": re.compile(r"template:(?P<name>.+)", re.DOTALL),
}
_NEED_NO_PROMPT = ("all", "first", "from")
#: Kinds of positions that go on behind the prompt.
_TAILS = ("all", "generated", "from")
_MARK_IT = "mark the words as [[...]] in the prompt, or choose other positions"


@dataclass(frozen=True)
class PositionSpec:
    """One parsed position; `str()` gives its text back.

    Attributes:
        text: as it was written.
        kind: "last", "first", "all", "prompt", "generated", "index", "ends", "span", "from" or "template".
        name: span name, or the text of a template.
        part: "first", "last" or "" (all) tokens of each mention, or the one "after" it.
        numbers: (N,) of index and from, (N, M) of ends.
    """

    text: str
    kind: str
    name: str = ""
    part: str = ""
    numbers: tuple[int, ...] = ()

    @property
    def needs_prompt(self) -> bool:
        """Whether the spec depends on the prompt's text or length, rather than on real positions alone."""
        return self.kind not in _NEED_NO_PROMPT and not (self.kind == "index" and self.numbers[0] >= 0)

    @property
    def beyond_prompt(self) -> bool:
        """Whether response tokens are (also) meant."""
        return self.kind in _TAILS

    def __str__(self) -> str:
        return self.text


def parse_positions(text: str) -> PositionSpec:
    """Parse one position.

    Raises:
        UnknownChoiceError: if it is none of the forms.
        PositionError: if it starts like a form but is malformed ("index:x").
    """
    for kind, form in _FORMS.items():
        if match := form.fullmatch(text):
            found = match.groupdict()
            if kind == "word":
                return PositionSpec(text, text)
            if kind == "ends":
                front, back = found["front"] or 0, found["back"] or found["only"] or 0
                return PositionSpec(text, kind, numbers=(int(front), int(back)))
            numbers = (int(found["number"]),) if "number" in found else ()
            return PositionSpec(text, kind, found.get("name") or "", found.get("part") or "", numbers)
    if text.split(":")[0] in _FORMS and ":" in text:
        raise PositionError("malformed position", got=repr(text), remedy=f"the grammar is {', '.join(GRAMMAR)}")
    raise UnknownChoiceError("position", text, GRAMMAR)


@dataclass(frozen=True)
class Chosen:
    """Tokens of a prompt and of whatever follows it, counted from the first real one.

    Attributes:
        groups: increasing indices into the prompt: one group per mention for spans, one in all for everything else.
        tail: index from which on all are chosen, prompt or response; None where the groups are all there is.
    """

    groups: list[list[int]]
    tail: int | None = None


def choose(spec: PositionSpec, encoded: EncodedPrompt) -> Chosen:
    """What `spec` means in a prompt, however long its response gets: in training, steering and measuring alike.

    Returns:
        No group is empty, and no index occurs twice.

    Raises:
        PositionError: if an index is out of range, a span is missing, mentions share a token, or nothing is chosen.
    """
    if spec.beyond_prompt:
        tails = {"all": encoded.prefix, "generated": len(encoded)}
        return Chosen([], spec.numbers[0] if spec.kind == "from" else tails[spec.kind])
    groups = _span_groups(spec, encoded) if spec.kind == "span" else [_indices(spec, encoded)]
    if not groups or not all(groups):
        raise _error(f"positions {spec.text!r} select no token", encoded)
    flat = [i for group in groups for i in group]
    if len(set(flat)) < len(flat):
        raise _error(f"mentions of {spec.text!r} share a token", encoded)
    return Chosen(groups)


def resolve(spec: PositionSpec, encoded: EncodedPrompt, n_response: int = 0) -> list[list[int]]:
    """Token indices of `spec` in a prompt followed by `n_response` response tokens, in groups (`Chosen`).

    Raises:
        PositionError: as `choose`, and if nothing is left up to the response's end.
    """
    chosen = choose(spec, encoded)
    if chosen.tail is None:
        return chosen.groups
    if rest := list(range(chosen.tail, len(encoded) + n_response)):
        return [rest]
    hint = "a label of one token leaves no response token to edit: " if spec.kind == "generated" else ""
    raise _error(f"{hint}positions {spec.text!r} select no token", encoded, n_response)


def _indices(spec: PositionSpec, encoded: EncodedPrompt) -> list[int]:
    n, body = len(encoded), list(range(encoded.prefix, len(encoded)))
    match spec.kind:
        case "last":
            return list(range(n))[-1:]
        case "first":
            return body[:1]
        case "prompt":
            return body
        case "ends":
            front, back = spec.numbers
            return sorted({*body[:front], *(body[-back:] if back else ())})
        case "index":
            number = spec.numbers[0]
            if not -n <= number < n:
                raise _error(f"{spec.text!r} is out of range", encoded)
            return [number % n]
        case _:
            assert spec.kind == "template"
            return _template_end(spec, encoded)


def _template_end(spec: PositionSpec, encoded: EncodedPrompt) -> list[int]:
    start = encoded.text.rfind(spec.name)
    end = start + len(spec.name)
    found = [i for i, (s, e) in enumerate(encoded.offsets) if s < end <= e]
    if start < 0 or not found:
        raise _error(f"the prompt does not contain the text of {spec.text!r}", encoded)
    return found[-1:]


def _span_groups(spec: PositionSpec, encoded: EncodedPrompt) -> list[list[int]]:
    mentions = encoded.spans.get(spec.name)
    if not mentions:
        there = " or ".join(f"span:{name}" for name in sorted(encoded.spans))
        way = f"choose a span that it has (site.positions={there}), or {_MARK_IT}" if there else _MARK_IT
        raise _error(f"the prompt has no span {spec.name!r}, which {spec.text!r} refers to", encoded, remedy=way)
    if spec.part == "after":
        return [[group[-1] + 1] for group in mentions if group[-1] + 1 < len(encoded)]
    part = {"": slice(None), "first": slice(1), "last": slice(-1, None)}[spec.part]
    return [group[part] for group in mentions]


def _error(what: str, encoded: EncodedPrompt, n_response: int = 0, remedy: str = _MARK_IT) -> PositionError:
    spans = ", ".join(sorted(encoded.spans)) or "none"
    return PositionError(
        what,
        got=f"prompt {encoded.text!r} with {len(encoded)} tokens ({encoded.prefix} of them the prefix), "
        f"{n_response} response tokens; its spans: {spans}",
        remedy=remedy,
    )
