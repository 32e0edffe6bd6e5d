"""Steering with many factors, judged: AxBench's protocol (arXiv 2501.17148).

Every instruction is continued under every factor and judged; the first half of the instructions chooses the factor, the
second half reports it (`das.metrics.aggregate.steering_score`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from das.artifacts.subspace import Subspace
from das.data.spans import AnyPrompt, as_prompt
from das.data.tokenize import Tokenizer
from das.errors import EmptySplitError
from das.metrics.aggregate.steering_score import Selected, select_factor
from das.steering.generate import encoder_for
from das.steering.judges.base import Generation, Judge, ReadsModel, Scores
from das.steering.steer import steer


@dataclass(frozen=True)
class Judged:
    """What the judge said.

    Attributes:
        generations, scores: factor -> one per instruction, in order.
        selected: the chosen factor with its score.
    """

    generations: Mapping[float, Sequence[Generation]]
    scores: Mapping[float, Sequence[Scores]]
    selected: Selected


def judge_steering(
    model: nn.Module,
    subspace: Subspace,
    instructions: Sequence[AnyPrompt],
    concept: str,
    judge: Judge | ReadsModel,
    factors: Sequence[float | int],
    *,
    suppress: bool = False,
    max_new_tokens: int = 40,
    positions: str | None = None,
    tokenizer: Tokenizer | None = None,
) -> Judged:
    """Continue instructions under every factor, judge, choose, report.

    Args:
        model: not steered.
        subspace: what to steer with.
        instructions: at least two; the first half chooses.
        concept: what the judge looks for.
        judge: who says how good it is.
        factors: signed.
        suppress: the concept's absence is wanted.
        max_new_tokens: length of the continuations.
        positions: where to steer, as trained by default.
        tokenizer: the model's own by default.

    Raises:
        EmptySplitError: no factors, or fewer than two instructions.
        DasError: what steering or the judge raises.
    """
    if not factors or len(instructions) < 2:
        raise EmptySplitError("judging needs a factor and two instructions", got=(len(factors), len(instructions)))
    encoder = encoder_for(model, tokenizer, subspace)
    ready = judge.reading(model, encoder) if isinstance(judge, ReadsModel) else judge
    texts, made = [as_prompt(p).text for p in instructions], dict[float, Sequence[Generation]]()
    for factor in map(float, factors):
        with steer(model, subspace, factor, positions=positions, tokenizer=encoder.tokenizer) as steering:
            found = steering.generate(instructions, max_new_tokens)
        made[factor] = [Generation(p, t, concept) for p, t in zip(texts, found, strict=True)]
    scores = {factor: ready(rows) for factor, rows in made.items()}
    overall = {f: [s.suppressed if suppress else s.overall for s in rows] for f, rows in scores.items()}
    return Judged(made, scores, select_factor(overall))
