"""LLM: another language model gives the three scores, asked once for each (AxBench, arXiv 2501.17148, has gpt-4o-mini).

The questions are worded anew, so scores are not comparable to the paper's to the last digit. Answers are kept where
`client.cache` says, so a judgement is paid for once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from das.errors import JudgeError
from das.steering.judges.base import Generation, Scores
from das.steering.judges.chat_client import ChatClient

QUESTIONS = {
    "concept": "Concept: {concept}\nText: {text}\n\nHow clearly does the text show the concept? Do not judge anything "
    "else.\n0: not at all\n1: somewhat, or out of place\n2: clearly, and as a natural part of the text",
    "instruct": "Instruction: {prompt}\nText: {text}\n\nDoes the text respond to the instruction? Do not judge style "
    "or correctness.\n0: it is unrelated\n1: it is related, but responds only in part\n2: it responds to it",
    "fluency": "Text: {text}\n\nIs the text fluent language? Do not judge what it says; it may end in the middle of a "
    "sentence.\n0: no: unnatural, or repeats itself\n1: somewhat, with noticeable errors\n2: yes",
}
_ENDING = "\n\nGive a reason of one sentence. Then end with the number alone in double brackets, as in [[1]]."
_RATING = re.compile(r"\[\[\s*([012])\s*\]\]")


@dataclass(frozen=True)
class LLMJudge:
    """A judge behind a chat endpoint."""

    client: ChatClient

    def __call__(self, generations: Sequence[Generation]) -> list[Scores]:
        """Scores in the same order.

        Raises:
            JudgeError: no answer, or one without a rating.
        """
        return [Scores(**{name: self._rating(name, one) for name in QUESTIONS}) for one in generations]

    def _rating(self, name: str, one: Generation) -> int:
        answer = self.client.ask(QUESTIONS[name].format(**vars(one)) + _ENDING)
        found = _RATING.findall(answer)
        if not found:
            raise JudgeError(
                f"the judge's answer has no rating of {name}", got=answer[-200:], remedy="use another model"
            )  # fmt: skip
        return int(found[-1])
