"""Readout MSE: a scalar readout of the intervened run must equal a given value (MIB's IOI track, arXiv 2504.13151).

Equation   mean over rows of (r - r*)^2,  r = logit(base label) - logit(rival) of pairs that have a rival (`ioi`),
           else logit(label 0) - logit(label 1) of the label set
           r*: the target run's readout, or with to="value" the causal model's number of the pair
Units      logits squared
Rows       interchange pairs
Raises     CapabilityError without a label set of at least two, a target run, or values; UnknownChoiceError for `to`

MIB's track is `task=ioi task.coefficients=[...] objective=readout_mse objective.to=value`.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch, values_of
from das.errors import CapabilityError, UnknownChoiceError
from das.objectives.base import Loss, Needs
from das.outputs import Outputs
from das.shapes import Logits

GOALS = ("target", "value")


@final
class ReadoutMSE:
    """Squared error of a logit difference.

    Args:
        to: "target" or "value".
    """

    def __init__(self, to: str = "target") -> None:
        if to not in GOALS:
            raise UnknownChoiceError("goal of readout_mse", to, GOALS)
        self.needs = Needs(values=True) if to == "value" else Needs("pairs", frozenset({"target"}))

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        if self.needs.values:
            wanted = values_of(batch, "objective 'readout_mse'")
        else:
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
    if batch.rival_choice is None:
        return first[:, 0] - first[:, 1]
    assert batch.base_choice is not None
    own, rival = (first.gather(1, i[:, None])[:, 0] for i in (batch.base_choice, batch.rival_choice))
    return own - rival


OBJECTIVE = ReadoutMSE
