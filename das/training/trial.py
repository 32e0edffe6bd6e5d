"""What candidate interventions do to a task's validation prompts: the numbers that estimators choose by."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cached_property
from typing import final

import torch

from das.engine.engine import Engine
from das.errors import CapabilityError
from das.estimators.base import Effects, Entries
from das.interventions.sets import InterventionSet
from das.objectives.base import kl, log_probs
from das.tasks.base import ConceptTask
from das.training.evaluate import batches
from das.training.problem import Problem
from das.types import CounterfactualPair, Prompt

logger = logging.getLogger("das.training")

#: Seconds between two lines about how far the candidates are.
TOLD_EVERY = 5.0


@final
class ValidationTrial:
    """Runs the model with interventions on validation prompts of both concept values.

    Args:
        problem: model and task.

    Raises:
        CapabilityError: the task has no concept with two values.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._tried, self._told = 0, time.monotonic()

    @cached_property
    def _sides(self) -> tuple[list[Prompt], list[Prompt], str]:
        task, n = self._problem.task, self._problem.data.n_val
        if not isinstance(task, ConceptTask) or task.labels is None:
            raise CapabilityError(
                f"task {task.name!r} has no concept with two values, so candidates cannot be compared",
                got=type(task).__name__, remedy="use a task with positive, negative and prompts",
            )  # fmt: skip
        prompts = task.prompts("val", n, self._problem.seed)
        positive, negative = ([p for p, label in prompts if label == v] for v in (task.positive, task.negative))
        return positive, negative, task.positive

    def __call__(self, entries: Entries) -> Effects:
        """Mean log odds of the positive label on both values' prompts, and KL from the unmodified model."""
        interventions = InterventionSet(list(entries)).to(self._problem.device).eval()
        positive, negative, label = self._sides
        odds_positive, _ = self._measured(interventions, positive, label)
        odds_negative, divergence = self._measured(interventions, negative, label)
        self._tried += 1
        if time.monotonic() - self._told >= TOLD_EVERY:
            told = f"log odds {odds_positive:.3f} and {odds_negative:.3f}, KL {divergence:.3f}"
            logger.info("candidate %d tried on %s: %s", self._tried, entries[0][0], told)
            self._told = time.monotonic()
        return Effects((odds_positive, odds_negative), divergence)

    @torch.no_grad()
    def _measured(self, interventions: InterventionSet, prompts: Sequence[Prompt], label: str) -> tuple[float, float]:
        pairs = [CounterfactualPair(prompt, {}, label, label) for prompt in prompts]
        data = self._problem.pairs(pairs, interventions, None)
        engine, odds, divergence = Engine(self._problem.model, interventions.placements), 0.0, 0.0
        for batch in batches(data, self._problem.data.batch_size, engine):
            sources = engine.sources(batch, frozenset({"reference"}))
            outputs = engine.outputs(batch, interventions, sources)
            after, before = log_probs(outputs.logits[:, :1]), log_probs(outputs.run("reference", "trial")[:, :1])
            log_p = after.gather(-1, batch.label_ids[:, :1, None])[:, 0, 0].double()
            odds += float((log_p - torch.log1p(-log_p.exp().clamp(max=1 - 1e-12))).sum())
            divergence += float(kl(before, after).sum())
        return odds / len(prompts), divergence / len(prompts)
