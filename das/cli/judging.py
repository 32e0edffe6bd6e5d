"""The judged part of an evaluation: what a steering writes, as AxBench scores it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from das.artifacts.subspace import Subspace
from das.errors import CapabilityError, InputError, UnknownChoiceError
from das.steering.compare import DIRECTIONS
from das.steering.judged import judge_steering
from das.steering.judges.base import Judge, ReadsModel
from das.steering.judges.rules import Rules
from das.tasks.base import ConceptTask
from das.training.problem import Problem


@dataclass(frozen=True)
class JudgingSettings:
    """What is judged.

    Attributes:
        value: the concept value steered to, "positive" or "negative"; prompts of the other one are steered.
        concept: what the judge calls it; the task's label where None.
        factors: sizes, all tried; half of the prompts choose one.
        n: prompts.
        suppress: the concept's absence is wanted, so steering goes the other way on prompts of the value itself.
        max_new_tokens: length of the continuations.
    """

    value: str = "positive"
    concept: str | None = None
    factors: tuple[float | int, ...] = (0.5, 1.0, 2.0, 4.0)
    n: int = 10
    suppress: bool = False
    max_new_tokens: int = 40

    def __post_init__(self) -> None:
        if self.value not in DIRECTIONS:
            raise UnknownChoiceError("judging.value", self.value, DIRECTIONS)
        if self.n < 2 or not self.factors or not all(0 < f < float("inf") for f in self.factors):
            raise InputError("judging needs n >= 2 and positive factors", got=(self.n, self.factors))


def measure_judged(
    problem: Problem, subspace: Subspace, judge: Judge | ReadsModel | None, settings: JudgingSettings
) -> dict[str, Any]:
    """Numbers under "judge/..."; none without a judge.

    Raises:
        CapabilityError: the task has no concept with two values.
    """
    if judge is None:
        return {}
    task, value = problem.task, settings.value
    if not isinstance(task, ConceptTask):
        raise CapabilityError("only steering to a concept can be judged", got=task.name, remedy="leave judge= out")
    concept = settings.concept or getattr(task, value).strip()
    if isinstance(judge, Rules) and not judge.words:
        judge = replace(judge, words={concept: task.concept_words[value]})
    start = value if settings.suppress else DIRECTIONS[value]
    up = (value == "positive") != settings.suppress
    drawn = task.prompts("test", 2 * settings.n, problem.seed)
    prompts = [p for p, label in drawn if label == getattr(task, start)][: settings.n]
    found = judge_steering(
        problem.model, subspace, prompts, concept, judge, [f if up else -f for f in settings.factors],
        suppress=settings.suppress, max_new_tokens=settings.max_new_tokens, tokenizer=problem.tokenizer,
    )  # fmt: skip
    chosen = found.scores[found.selected.factor][len(prompts) // 2 :]
    return {
        "judge/score": found.selected.score,
        "judge/factor": found.selected.factor,
        "judge/chosen_by": found.selected.chosen_by,
        **{f"judge/{n}": fmean(getattr(s, n) for s in chosen) for n in ("concept", "instruct", "fluency")},
    }
