"""Contrasts that were read from files, as a task. Torch-free.

Interchange pairs are made of them where they have responses: half of the pairs take the concept's value from the other
prompt of their contrast, in either direction, and are labelled with that one's response; half take it from a prompt of
the same value in another contrast, and keep their own. Labels are whole responses, so there is no label set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import final

from das.errors import CapabilityError, ConfigError, RowError
from das.tasks.base import alternate, check_count, check_split, stream
from das.tasks.cells import entities_of, prompt_of, split_of
from das.tasks.dealing import deal
from das.tasks.reading import Row
from das.tasks.sieve import Sieve
from das.types import SOURCE, Concept, Contrast, CounterfactualPair, Prompt, SpanFinder


@final
class FileContrasts:
    """A task made of contrasts.

    Args:
        name: of the task.
        contrasts: per split.
        dropped: kind of error -> rows left out.
        concept_words: "positive" and "negative" -> words that show the value in generated text, if there are such.
    """

    labels: tuple[str, ...] | None = None
    finder: SpanFinder | None = None
    positive = " with"
    negative = " without"

    def __init__(
        self,
        name: str,
        contrasts: Mapping[str, Sequence[Contrast]],
        dropped: Mapping[str, int],
        concept_words: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.name, self._contrasts, self.dropped = name, contrasts, dict(dropped)
        self.concept_words = {value: tuple(words) for value, words in (concept_words or {}).items()}
        if set(self.concept_words) not in (set(), {"positive", "negative"}):
            raise ConfigError(
                "concept_words are given for both values or not at all", got=sorted(self.concept_words),
                remedy="give lists of words under positive and negative",
            )  # fmt: skip

    def entities(self, split: str) -> frozenset[str]:
        """What this split's contrasts are about."""
        return frozenset().union(*(contrast.entities for contrast in self._of(split)))

    def contrasts(self, split: str, n: int, seed: int) -> list[Contrast]:
        """`n` contrasts, or all there are where that is fewer, in random order."""
        found = list(self._of(split))
        stream(self.name, "contrasts", split, n, seed).shuffle(found)
        return found[:n]

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, half of them label-changing (to within one), or fewer where there are not as many.

        Raises:
            CapabilityError: a contrast has no responses.
        """
        found = self._of(split)
        if silent := [c for c in found if c.negative_response is None or c.positive_response is None]:
            raise CapabilityError(
                f"the contrasts of {self.name} are no interchange pairs, because their responses are missing",
                got=f"{len(silent)} of {len(found)}, the first in {silent[0].origin}",
                remedy="use an objective on contrasts, for which the model writes them, or fill them in",
            )
        rng = stream(self.name, "pairs", split, n, seed)
        changed = [replace(pair, target=None) for contrast in found for pair in contrast.pairs()]
        kept = [pair for one, other in zip(found, [*found[1:], *found[:1]], strict=True) for pair in _same(one, other)]
        for pool in (changed, kept):
            rng.shuffle(pool)
        drawn = [changed if change else kept for change in alternate(n, rng)]
        return [pool.pop() for pool in drawn if pool]

    def prompts(self, split: str, n: int, seed: int) -> list[tuple[Prompt, str]]:
        """`n` prompts with the concept and without it, in turn, or all there are where that is fewer."""
        sides = ((c.positive, self.positive, c.negative, self.negative) for c in self.contrasts(split, n, seed))
        return [two for yes, with_, no, without in sides for two in ((yes, with_), (no, without))][:n]

    def _of(self, split: str) -> Sequence[Contrast]:
        check_split(self.name, split)
        check_count(self.name, split, "rows", len(self._contrasts[split]), 1)
        return self._contrasts[split]


def _same(contrast: Contrast, other: Contrast) -> list[CounterfactualPair]:
    """Both prompts with sources of their own value, which leave them as they are; none where these are the same."""
    about = contrast.entities | other.entities
    return [
        replace(
            pair, sources={**pair.sources, SOURCE: source}, counterfactual_label=pair.base_label,
            target=None, entities=about,
        )
        for pair, source in zip(contrast.pairs(), (other.negative, other.positive), strict=True)
        if source.text != pair.base.text
    ]  # fmt: skip


def read_contrast(row: Row, mark: str | None = None) -> Contrast:
    """A quadruple: columns negative_input, positive_input, and perhaps *_output, concept and entity.

    Raises:
        RowError: no prompt, or two that are the same.
        PositionError: spans that are none, see `das.tasks.cells.prompt_of`.
    """
    negative, positive = (prompt_of(row, f"{side}_input", mark) for side in ("negative", "positive"))
    responses = (row.maybe(f"{side}_output") for side in ("negative", "positive"))
    return contrast_of(row, negative, positive, *responses)


def contrast_of(
    row: Row, negative: Prompt, positive: Prompt, negative_response: str | None, positive_response: str | None
) -> Contrast:
    """A contrast of a row's texts, about its entity (or the texts of its prompts) and its concept."""
    if negative.text == positive.text:
        raise RowError("the two prompts are the same", got=positive.text, remedy="give a prompt with the concept")
    entities = entities_of(row, ["entity"], [negative.text, positive.text])
    concept = row.maybe("concept")
    named = None if concept is None else Concept(concept, Prompt(concept))
    return Contrast(negative, positive, negative_response, positive_response, entities, named, row.where)


def from_rows(
    name: str,
    rows: Sequence[Row],
    read: Callable[[Row], Contrast],
    shares: Mapping[str, float],
    sieve: Sieve,
    test: Sequence[Row] = (),
    concept_words: Mapping[str, Sequence[str]] | None = None,
) -> FileContrasts:
    """The task of one dataset, or of one for training and validation and another for the test.

    Concepts are kept where there are several: conditioners read them.

    Raises:
        InputError: what `read` and `das.tasks.dealing.deal` raise.
    """
    needed = any(row.get("split") is not None for row in rows)
    marked = [(row, False) for row in rows] + [(row, True) for row in test]

    def entered(item: tuple[Row, bool]) -> tuple[Contrast, str | None]:
        row, is_test = item
        return read(row), "test" if is_test else split_of(row, needed)

    found, said = zip(*sieve.sift(marked, entered, lambda item: item[0].where), strict=True)
    if len({c.concept.name for c in found if c.concept is not None}) <= 1:
        found = tuple(replace(contrast, concept=None) for contrast in found)
    early = {split: share for split, share in shares.items() if split != "test"} if test else shares
    dealt = deal(found, said, lambda c: c.entities, lambda c: c.origin, sieve, early)
    return FileContrasts(name, dealt, sieve.dropped, concept_words)
