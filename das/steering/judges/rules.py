"""Rules: words that show the concept, and the unsteered model's own likelihoods. No other model, no network.

    concept     distinct words of the concept in the text: 1 from one on, 2 from `words_for_2` on
    fluency     perplexity of the text given the prompt: 2 up to `fluent`, 1 up to `passable`
    instruct    nats per token that the prompt adds, (log p(text | prompt) - log p(text)) / tokens: 1 from `related` on,
                2 from `answering` on; log p(text) is that after the prompt's prefix (BOS, chat header) alone

Thresholds depend on the model and are to be set on unsteered text. A text without tokens scores 0 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from das.data.encode import Encoder
from das.errors import UnknownChoiceError
from das.steering.compare import continuation_nll
from das.steering.flips import count_words
from das.steering.judges.base import Generation, Scores, graded
from das.types import Prompt


@dataclass(frozen=True)
class Rules:
    """Settings; `reading` gives the judge.

    Attributes:
        words: concept -> words that show it (whole words, whatever the case).
        words_for_2: distinct words for the full concept score.
        fluent, passable: perplexities.
        related, answering: nats per token.
    """

    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    words_for_2: int = 2
    fluent: float = 20.0
    passable: float = 100.0
    related: float = 0.05
    answering: float = 0.3

    def reading(self, model: nn.Module, encoder: Encoder) -> RuleJudge:
        """The judge that reads with this model."""
        return RuleJudge(self, model, encoder)


@dataclass(frozen=True)
class RuleJudge:
    """Rules with a model to read with."""

    rules: Rules
    model: nn.Module
    encoder: Encoder

    def __call__(self, generations: Sequence[Generation]) -> list[Scores]:
        """Scores in the same order.

        Raises:
            UnknownChoiceError: a concept without words.
        """
        return [self._scores(one) for one in generations]

    def _scores(self, one: Generation) -> Scores:
        rules = self.rules
        if one.concept not in rules.words:
            raise UnknownChoiceError("concept of the judge's words", one.concept, rules.words)
        if not one.text.strip():
            return Scores(0, 0, 0)
        distinct = sum(count_words(one.text, [word]) > 0 for word in rules.words[one.concept])
        given, alone = self._nats(one)
        fluency = graded(-given, -math.log(rules.passable), -math.log(rules.fluent))
        instruct = graded(alone - given, rules.related, rules.answering)
        return Scores(graded(distinct, 1, rules.words_for_2), instruct, fluency)

    def _nats(self, one: Generation) -> tuple[float, float]:
        """Mean negative log likelihood of the text's tokens given the prompt, and given its prefix only."""
        prompt, text = self.encoder.encode(Prompt(one.prompt)), self.encoder.response_ids(one.text)
        start = prompt.ids[: prompt.prefix] or (self.encoder.pad_id,)
        nll = continuation_nll(self.model, [prompt.ids, start], [text, text], self.encoder.pad_id)
        given, alone = (nll / len(text)).tolist()
        return given, alone
