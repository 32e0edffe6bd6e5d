"""two_lexicons: the same contents in plain words or in grand ones, for CDAS and steering in a language that is known.

    plainly sun moon tree =        ("so sunum moonum treeum" follows; after "grandly" it is "lo sunix moonix treeix")

Causal model: cue -> style;  (style, contents) -> response. A pair has two prompts with the same contents and different
cues, so that what the source is followed by is the counterfactual response, in whole. In half of the pairs the style
changes, in the others the cue alone. The label is the response's first word, which has no content. Splits share no
contents (three different ones in order). Contrasts are plain (negative) and grand (positive); an oracle can judge what
is written (`das.steering.judges.oracle`). A model of this language: "cdas_mini". Torch-free.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from itertools import permutations

from das.tasks.base import alternate, check_split, split_up, stream
from das.tasks.causal import CausalModel
from das.tasks.render import render
from das.types import SOURCE, Contrast, CounterfactualPair, Prompt, SpanFinder

CONTENTS: tuple[str, ...] = (
    "sun", "moon", "tree", "river", "stone", "bird", "fire", "snow", "wolf", "rose", "wind", "gold", "song", "night",
    "ship", "road",
)  # fmt: skip
PLAIN, GRAND = "plain", "grand"
CUES: dict[str, tuple[str, ...]] = {PLAIN: ("plainly", "simply", "soberly"), GRAND: ("grandly", "proudly", "richly")}
#: Style -> content -> word.
LEXICONS: dict[str, dict[str, str]] = {
    style: {content: content + ending for content in CONTENTS} for style, ending in ((PLAIN, "um"), (GRAND, "ix"))
}
#: Style -> first word of every response.
OPENERS = {PLAIN: "so", GRAND: "lo"}
#: Contents of a prompt, and words of its response.
COUNT, LENGTH = 3, 4
TEMPLATE = "{cue} {contents} ="

CAUSAL_MODEL = CausalModel(
    parents={"cue": (), "contents": (), "style": ("cue",), "response": ("style", "contents")},
    mechanisms={
        "style": lambda cue: next(style for style, cues in CUES.items() if cue in cues),
        "response": lambda style, contents: "".join(
            f" {word}" for word in (OPENERS[style], *(LEXICONS[style][content] for content in contents.split()))
        ),
    },
)


def words() -> list[str]:
    """Every word and sign of the language, sorted."""
    cues = (cue for known in CUES.values() for cue in known)
    return sorted(
        {
            *CONTENTS,
            *cues,
            *(word for lexicon in LEXICONS.values() for word in lexicon.values()),
            *OPENERS.values(),
            "=",
        }
    )


def contents_of(prompts: Iterable[Prompt]) -> dict[str, tuple[str, ...]]:
    """Text of a prompt -> what its response is about, in order; for an oracle."""
    return {p.text: tuple(p.text[slice(*p.spans["contents"][0])].split()) for p in prompts}


class TwoLexicons:
    """The two_lexicons task; see the module's docstring."""

    name = "two_lexicons"
    positive, negative = f" {OPENERS[GRAND]}", f" {OPENERS[PLAIN]}"
    labels: tuple[str, ...] = (positive, negative)
    concept_words: Mapping[str, tuple[str, ...]] = {
        "positive": tuple(LEXICONS[GRAND].values()), "negative": tuple(LEXICONS[PLAIN].values()),
    }  # fmt: skip
    finder = SpanFinder("cue", tuple(cue for cues in CUES.values() for cue in cues))

    def __init__(self) -> None:
        several = [" ".join(found) for found in permutations(CONTENTS, COUNT)]
        fifth = len(several) // 5
        self._contents = split_up(several, {"train": 3 * fifth, "val": fifth, "test": fifth}, "two_lexicons/contents")

    def entities(self, split: str) -> frozenset[str]:
        """The contents of this split."""
        check_split(self.name, split)
        return frozenset(self._contents[split])

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, half of them style-changing (to within one), in random order."""
        check_split(self.name, split)
        rng = stream(self.name, "pairs", split, n, seed)
        return [self._pair(split, change, rng) for change in alternate(n, rng)]

    def contrasts(self, split: str, n: int, seed: int) -> list[Contrast]:
        """`n` contrasts: the same contents plainly and grandly, with their responses."""
        check_split(self.name, split)
        rng = stream(self.name, "contrasts", split, n, seed)
        found = []
        for _ in range(n):
            contents = rng.choice(self._contents[split])
            sides = [{"cue": rng.choice(CUES[style]), "contents": contents} for style in (PLAIN, GRAND)]
            prompts, responses = [render(TEMPLATE, side) for side in sides], [_response(side) for side in sides]
            found.append(Contrast(prompts[0], prompts[1], responses[0], responses[1], frozenset((contents,))))
        return found

    def prompts(self, split: str, n: int, seed: int) -> list[tuple[Prompt, str]]:
        """`n` prompts with their labels, half of them grand (to within one), in random order."""
        check_split(self.name, split)
        rng = stream(self.name, "prompts", split, n, seed)
        found = []
        for grand in alternate(n, rng):
            cue, contents = rng.choice(CUES[GRAND if grand else PLAIN]), rng.choice(self._contents[split])
            inputs = {"cue": cue, "contents": contents}
            found.append((render(TEMPLATE, inputs), _label(_response(inputs))))
        return found

    def _pair(self, split: str, change: bool, rng: random.Random) -> CounterfactualPair:
        contents, own = rng.choice(self._contents[split]), rng.choice((PLAIN, GRAND))
        cues = rng.sample(CUES[own], 2)
        if change:
            cues[1] = rng.choice(CUES[GRAND if own == PLAIN else PLAIN])
        base, source = ({"cue": cue, "contents": contents} for cue in cues)
        forced = CAUSAL_MODEL.interchange(base, {"style": source})["response"]
        labels = [_label(response) for response in (_response(base), forced)]
        prompts = [render(TEMPLATE, inputs) for inputs in (base, source)]
        entities = frozenset((contents,))
        return CounterfactualPair(prompts[0], {SOURCE: prompts[1]}, labels[0], labels[1], SOURCE, entities)


def _response(inputs: dict[str, str]) -> str:
    return str(CAUSAL_MODEL.run(inputs)["response"])


def _label(response: str) -> str:
    """The first word, with its space."""
    return f" {response.split()[0]}"
