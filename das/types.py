"""Torch-free vocabulary shared by every layer: prompts, counterfactual pairs, contrasts, sites.

Character spans are half-open `(start, end)` offsets into the text; mentions and named spans: see `das.finder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from das.errors import InputError, PositionError, UnknownChoiceError
from das.finder import Mentions as Mentions
from das.finder import SpanFinder as SpanFinder

#: Kinds of data an objective can train on.
#:     pairs        interchange pairs with the causal model's label
#:     contrasts    contrast quadruples, both directions, teacher-forced on the source's response (CDAS)
#:     elicit       of every contrast only the neutral prompt with the concept's response (ReFT)
#:     preferences  of every contrast a winning and a losing response to the neutral prompt: once the concept's wins
#:                  (direction +1), once the neutral one (direction -1)
#:     contrast_preferences    the same for interchanges: each direction on its own prompt, the source's response wins
Rows = Literal["pairs", "contrasts", "elicit", "preferences", "contrast_preferences"]

#: The name under which `[[...]]` marks are stored when the caller gives no other.
MARK = "mark"
#: The default name of the (only) source of an interchange.
SOURCE = "source"
#: The source whose text names the concept a row is about: conditioners read all of its tokens, edits take nothing.
CONCEPT = "concept"


@dataclass(frozen=True)
class Prompt:
    """A text and the character spans in it that positions can refer to.

    Attributes:
        text: the raw text, without marks.
        spans: span name -> mentions, each a half-open character range, in order of appearance.
    """

    text: str
    spans: Mapping[str, Mentions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, mentions in self.spans.items():
            for start, end in mentions:
                if not 0 <= start < end <= len(self.text):
                    got = f"characters {start}:{end} of a text of {len(self.text)}"
                    remedy = "give half-open character offsets into the text"
                    raise PositionError(f"span {name!r} lies outside its prompt", got=got, remedy=remedy)

    @classmethod
    def from_marked(cls, text: str, name: str = MARK) -> Prompt:
        """Read `[[...]]` marks: `"Hi [[Tim]]!"` becomes the text `"Hi Tim!"` with one mention of `name`.

        Raises:
            PositionError: an empty mark, or one that is not closed.
        """
        plain, mentions, end = "", [], 0
        for match in re.finditer(r"\[\[(.*?)\]\]", text, re.DOTALL):
            if not match[1].strip():
                raise PositionError("a mark in the prompt is empty", got=text, remedy="put words between [[ and ]]")
            plain += text[end : match.start()]
            mentions.append((len(plain), len(plain) + len(match[1])))
            plain += match[1]
            end = match.end()
        if "[[" in text[end:]:
            raise PositionError("a mark in the prompt is not closed", got=text, remedy="close it: [[words]]")
        return cls(plain + text[end:], {name: tuple(mentions)} if mentions else {})


@dataclass(frozen=True)
class CounterfactualPair:
    """One interchange: run `base` with a variable taken from the sources; the causal model says what should follow.

    Attributes:
        base: the prompt that is intervened on.
        sources: source name -> prompt whose activations are read. Usually one, named "source".
        base_label: what follows `base` with no intervention (starts with its own space, e.g. `" she"`).
        counterfactual_label: what the causal model says follows under the interchange.
        target: the source whose *own* output distribution is the counterfactual one, to be matched; None if none is.
        entities: what splits must not share (names, cities, ...).
        origin: where it was read ("pairs.csv, row 3"), for messages; None where it was sampled.
        rival: the label that the base's competes with, whatever the interchange (the subject in `ioi`), or None.
        value: logit(base_label) - logit(rival) under the interchange, as the causal model has it, or None.
            Only with a rival.
    """

    base: Prompt
    sources: Mapping[str, Prompt]
    base_label: str
    counterfactual_label: str
    target: str | None = None
    entities: frozenset[str] = frozenset()
    origin: str | None = field(default=None, compare=False)
    rival: str | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        if self.value is not None and self.rival is None:
            raise InputError("a pair's value is relative to a rival", got=f"value {self.value}", remedy="give rival")

    @property
    def changed(self) -> bool:
        """Whether the interchange changes the label."""
        return self.base_label != self.counterfactual_label


@dataclass(frozen=True)
class Concept:
    """One of several concepts that a task is about.

    Attributes:
        name: which one it is.
        text: a description in words, for hypernetworks to read; one concept may have several.
    """

    name: str
    text: Prompt


@dataclass(frozen=True)
class Contrast:
    """A contrast quadruple (x, y, x_c, y_c) of CDAS (arXiv 2602.05234): one prompt without the concept, one with it.

    Responses may be None until a model has written them (`das.data.responses`); `concept` is None where a task has only
    one; `origin` says where it was read, if it was.
    """

    negative: Prompt
    positive: Prompt
    negative_response: str | None = None
    positive_response: str | None = None
    entities: frozenset[str] = frozenset()
    concept: Concept | None = None
    origin: str | None = field(default=None, compare=False)

    def pairs(self) -> tuple[CounterfactualPair, CounterfactualPair]:
        """Both directions, each teacher-forced on its source's response: elicit (neg+pos), then suppress (pos+neg)."""
        assert self.negative_response is not None and self.positive_response is not None, "write the responses first"
        neg, pos = self.negative_response, self.positive_response
        named = {} if self.concept is None else {CONCEPT: self.concept.text}
        whose = (SOURCE, self.entities, self.origin)
        return (
            CounterfactualPair(self.negative, {SOURCE: self.positive, **named}, neg, pos, *whose),
            CounterfactualPair(self.positive, {SOURCE: self.negative, **named}, pos, neg, *whose),
        )


@dataclass(frozen=True)
class Site:
    """Where: layer x component x positions.

    Attributes:
        layer: 0-based block index; None only for free-form module paths that contain their own.
        component: pyvene's name ("block_output"), a TransformerLens alias ("resid_post"), or a module path
            ("model.layers.3.mlp.down_proj").
        positions: where the base is written, in the position grammar of `das.data.positions`: "last", "first",
            "all", "prompt", "generated", "index:-3", "f3+l2", "span:NAME", "span:NAME:last", "from:5".
        source_positions: where the sources are read, or source name -> where that one is; None means the same as
            `positions`. A single position is broadcast to all written ones.
        heads: head indices for components that have heads; None means all of them.
        side: "input" or "output" of a free-form module path; ignored for named components.
    """

    layer: int | None = None
    component: str = "block_output"
    positions: str = "last"
    source_positions: str | Mapping[str, str] | None = None
    heads: tuple[int, ...] | None = None
    side: str = "output"

    def __post_init__(self) -> None:
        if self.side not in ("input", "output"):
            raise UnknownChoiceError("side of a site", self.side, ("input", "output"))

    def __hash__(self) -> int:
        where = self.source_positions
        hashable = tuple(sorted(where.items())) if isinstance(where, Mapping) else where
        return hash((self.layer, self.component, self.positions, hashable, self.heads, self.side))

    def read(self, source: str = SOURCE) -> Site:
        """Where a source is read.

        Raises:
            PositionError: `source_positions` names sources, and this is none of them.
        """
        where = self.source_positions
        if isinstance(where, Mapping):
            if source not in where:
                got, remedy = f"source_positions for {sorted(where)}", "name every source, or give one position for all"
                raise PositionError(f"the site does not say where source {source!r} is read", got=got, remedy=remedy)
            where = where[source]
        return replace(self, positions=self.positions if where is None else where, source_positions=None)

    def to_json(self) -> dict[str, Any]:
        """Plain data for artifacts."""
        where, heads = self.source_positions, None if self.heads is None else list(self.heads)
        read = dict(where) if isinstance(where, Mapping) else where
        return {
            "layer": self.layer, "component": self.component, "positions": self.positions, "source_positions": read,
            "heads": heads, "side": self.side,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Site:
        """Inverse of `to_json`."""
        heads = data.get("heads")
        fields = {k: data[k] for k in ("layer", "component", "positions", "source_positions", "side") if k in data}
        return cls(**fields, heads=None if heads is None else tuple(heads))

    def __str__(self) -> str:
        layer = "" if self.layer is None else f"layer {self.layer} "
        heads = "" if self.heads is None else f" heads {','.join(map(str, self.heads))}"
        where = self.source_positions
        told = ", ".join(f"{k} at {v}" for k, v in where.items()) if isinstance(where, Mapping) else f"at {where}"
        read = "" if where is None else f" (read {told})"
        return f"{layer}{self.component}{heads} @ {self.positions}{read}"
