"""Readout MSE: a scalar readout of the intervened run must equal a given value (MIB's IOI track, arXiv 2504.13151).

Equation   mean over rows of (r - r*)^2,  r = logit(label 0) - logit(label 1) of the label set after the prompt
           r*: the pair's own number "value" (a causal model's), else the target run's readout
Units      logits squared
Rows       interchange pairs
Raises     CapabilityError without a label set of at least two, or with neither values nor a target run
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch
from das.errors import CapabilityError
from das.objectives.base import Loss, Needs
from das.outputs import Outputs
from das.shapes import Logits


@final
class ReadoutMSE:
    """Squared error of a logit difference."""

    def __init__(self) -> None:
        self.needs = Needs("pairs", frozenset({"target"}))

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        wanted = batch.per_row.get("value")
        if wanted is None:
            wanted = _readout(outputs.run("target", "readout_mse"), batch)
        loss = (_readout(outputs.logits, batch) - wanted).square().mean()
        return Loss(loss, len(batch), {"readout_mse": loss.detach()})


def _readout(logits: Logits, batch: PairBatch) -> Float[Tensor, " batch"]:
    if batch.choices is None or batch.choices.shape[1] < 2:
        raise CapabilityError(
            "objective 'readout_mse' reads the difference of two labels, and these pairs have no label set",
            got="pairs without choices", remedy="use a task with labels",
        )  # fmt: skip
    first = logits[:, 0].to(torch.promote_types(logits.dtype, torch.float32)).gather(1, batch.choices)
    return first[:, 0] - first[:, 1]


OBJECTIVE = ReadoutMSE
