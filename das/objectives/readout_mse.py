"""Readout MSE: a scalar readout of the intervened run must equal a given value (MIB's IOI track, arXiv 2504.13151).

Equation   mean over rows of (r - r*)^2,  r = logit(base label) - logit(rival) as in `base_logit_difference`
           r*: the target run's readout, or with to="value" the causal model's number of the pair
Units      logits squared
Rows       interchange pairs
Raises     CapabilityError without a rival, a target run, or values; UnknownChoiceError for `to`

MIB's track is `task=ioi task.coefficients=[...] objective=readout_mse objective.to=value`.
"""

from __future__ import annotations

from typing import final

from das.batch import PairBatch, readout, values_of
from das.errors import UnknownChoiceError
from das.objectives.base import Loss, Needs
from das.outputs import Outputs

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
        name = "objective 'readout_mse'"
        if self.needs.values:
            wanted = values_of(batch, name)
        else:
            wanted = readout(outputs.run("target", "readout_mse"), batch, name)
        loss = (readout(outputs.logits, batch, name) - wanted).square().mean()
        return Loss(loss, len(batch), {"readout_mse": loss.detach()})


OBJECTIVE = ReadoutMSE
