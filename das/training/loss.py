"""An objective's loss of one batch, in chunks of the label tokens where all logits at once would be large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from das.batch import PairBatch
from das.engine.together import Inside, Together
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

    @property
    def head_shape(self) -> tuple[int, int]:
        """Vocabulary and width of the head."""
        ...


def loss_of(
    objective: Objective, runner: Runner, batch: PairBatch, interventions: InterventionSet, progress: float = 1.0
) -> tuple[Loss, Reported]:
    """The loss, and what the interventions reported."""
    if (columns := _at_once(objective, runner, batch)) is not None:
        stopped = runner.headless(batch, interventions, progress)  # type: ignore[attr-defined]
        return _after(objective, stopped, batch, columns), stopped
    outputs = runner.outputs(batch, interventions, progress)
    return objective(outputs, batch), outputs


def losses_of(
    objectives: Sequence[Objective],
    together: Together,
    batches: Sequence[PairBatch],
    interventions: Sequence[InterventionSet],
    progress: float,
    inside: Sequence[Inside],
) -> list[tuple[Loss, Reported]]:
    """What `loss_of` says of each member of a joint pass, `inside[i]` entered while anything of member i's runs."""
    each = list(zip(objectives, together.members, batches, strict=True))
    chunks = [_at_once(*one) for one in each]
    found: list[tuple[Loss, Reported]] = []
    if any(chunks):
        for (objective, _, batch), stopped, own, columns in zip(
            each, together.headless(batches, interventions, progress, inside), inside, chunks, strict=True
        ):
            with own():
                found.append((_after(objective, stopped, batch, columns), stopped))
        return found
    for (objective, _, batch), outputs, own in zip(
        each, together.outputs(batches, interventions, progress, inside), inside, strict=True
    ):
        with own():
            found.append((objective(outputs, batch), outputs))
    return found


def _after(objective: Objective, stopped: Headless, batch: PairBatch, columns: int | None) -> Loss:
    """The loss of a run that stopped before the head, for some label tokens at a time or all at once."""
    if columns is not None:
        return chunked(objective, stopped, batch, columns)
    with torch.no_grad():
        runs = {name: stopped.head(hidden) for name, hidden in stopped.runs.items()}
    return objective(Outputs(stopped.head(stopped.hidden), runs, stopped.aux, stopped.watched), batch)


def _at_once(objective: Objective, runner: Runner, batch: PairBatch) -> int | None:
    """Label tokens of each row whose logits are made at a time; None for all."""
    if not objective.needs.tokenwise or not isinstance(runner, Stopping):
        return None
    (rows, labels), (vocab, width) = batch.label_ids.shape, runner.head_shape
    columns = max(CHUNK, rows * labels * width) // max(1, rows * vocab)
    return max(1, columns) if columns < labels else None
