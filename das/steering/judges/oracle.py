"""Oracle: exact judgements of a synthetic language whose meaning the caller knows.

A lexicon gives every content its word, one lexicon per concept (and one for its absence); a prompt asks for contents.

    concept     2 if all content words of the text are the concept's, 1 if some are, 0 if none
    instruct    2 if the text's contents are the prompt's, in order; 1 if it has any of them; else 0
    fluency     2 if every word belongs to the language, 1 if at least half do, else 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from das.errors import UnknownChoiceError
from das.steering.judges.base import Generation, Scores, graded


@dataclass(frozen=True)
class Oracle:
    """A judge that knows the language.

    Attributes:
        lexicons: concept (or its absence) -> content -> word.
        contents: prompt -> contents that its answer has.
        others: words without content.
    """

    lexicons: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    contents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    others: Sequence[str] = ()

    def __call__(self, generations: Sequence[Generation]) -> list[Scores]:
        """Scores in the same order; words are what white space separates.

        Raises:
            UnknownChoiceError: a concept or a prompt that the language does not have.
        """
        return [self._scores(one) for one in generations]

    def _scores(self, one: Generation) -> Scores:
        if one.concept not in self.lexicons:
            raise UnknownChoiceError("concept of the oracle", one.concept, self.lexicons)
        if one.prompt not in self.contents:
            raise UnknownChoiceError("prompt of the oracle", one.prompt, self.contents)
        meaning = {word: content for lexicon in self.lexicons.values() for content, word in lexicon.items()}
        words, asked = one.text.split(), list(self.contents[one.prompt])
        content = [word for word in words if word in meaning]
        mine = set(self.lexicons[one.concept].values())
        said = [meaning[word] for word in content]
        concept = 0 if not content else graded(sum(w in mine for w in content) / len(content), 1e-9, 1.0)
        instruct = 2 if said == asked else int(bool(set(said) & set(asked)))
        known = sum(word in meaning or word in self.others for word in words)
        return Scores(concept, instruct, 0 if not words else graded(known / len(words), 0.5, 1.0))
