"""An objective's loss of one batch, in chunks of the label tokens where all logits at once would be large."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from das.batch import PairBatch
from das.interventions.sets import InterventionSet
from das.objectives.base import Loss, Objective
from das.objectives.chunked import CHUNK, chunked
from das.outputs import Headless, Outputs, Reported


@runtime_checkable
class Runner(Protocol):
    """Runs interventions on a batch: `das.engine.tiers.Prepared` for language models, a few lines for anything else."""

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float) -> Outputs:
        """Logits of the intervened (and of frozen) runs at the label positions, with gradients to the interventions."""
        ...


@runtime_checkable
class Stopping(Protocol):
    """A runner that can stop before the head."""

    def headless(self, batch: PairBatch, interventions: InterventionSet, progress: float) -> Headless:
        """Head inputs at the label positions instead of logits."""
        ...

    def logits_per_token(self, batch: PairBatch) -> int:
        """Numbers that one label token of every row makes: rows x vocabulary."""
        ...


def loss_of(
    objective: Objective, runner: Runner, batch: PairBatch, interventions: InterventionSet, progress: float = 1.0
) -> tuple[Loss, Reported]:
    """The loss, and what the interventions reported."""
    if objective.needs.tokenwise and isinstance(runner, Stopping):
        columns = max(1, CHUNK // max(1, runner.logits_per_token(batch)))
        if columns < batch.label_ids.shape[1]:
            stopped = runner.headless(batch, interventions, progress)
            return chunked(objective, stopped, batch, columns), stopped
    outputs = runner.outputs(batch, interventions, progress)
    return objective(outputs, batch), outputs
