"""INLP: iterative nullspace projection (arXiv 2004.07667).

Equation   repeat: w_i = probe on (I - P_i) x;  P = projection on span(w_1, ..., w_rank);  h' = (I - P) h
Shapes     x (N, width) -> R (width, rank)
Raises     InputError unless 1 <= rank < width, or where the first probe does no better than the majority;
           EmptySplitError for a value without prompts
Ends early when the probe on what is left does no better than the majority on the training examples, or nothing but
rounding is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.edits.zero import Zero
from das.errors import InputError
from das.estimators.base import POSITIVE, Examples
from das.estimators.logistic import fit_probe
from das.estimators.rounding import NEGLIGIBLE
from das.featurizers.rotation import Rotation
from das.geometry import orthonormalize
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Inlp:
    """Probe after probe, projected out.

    Attributes:
        rank: directions at most.
        l2: ridge of the probes.
        margin: stop where the accuracy is within this of the majority's share; below 0 never stops.
    """

    rank: int = 8
    l2: float = 1e-3
    margin: float = 0.005

    def fit(self, examples: Examples) -> Intervention:
        """Coordinates set to zero."""
        if not 1 <= self.rank < examples.width:
            raise InputError("rank must lie between 1 and less than the width", got=f"{self.rank} at {examples.width}")
        examples.means()  # both values must be there
        positive = examples.label == POSITIVE
        majority = max(float(positive.double().mean()), float((~positive).double().mean()))
        x, found = examples.centred(), torch.zeros(examples.width, 0, dtype=torch.float64)
        rounding = NEGLIGIBLE * examples.x.double().norm()
        for _ in range(self.rank):
            left = x - x @ found @ found.T
            probe = fit_probe(left, positive, self.l2)
            told = bool(left.norm() > rounding) and probe.accuracy(left, positive) > majority + self.margin
            if not told or not bool(probe.weight.any()):
                break
            found = torch.linalg.qr(torch.cat([found, probe.weight[:, None]], 1))[0]
        if not found.shape[1]:
            raise InputError("there is nothing to erase: no probe does better than the majority", got=f"{majority:.3f}",
                             remedy="read at another layer or position, or lower margin")  # fmt: skip
        rotation = Rotation(examples.width, found.shape[1], basis=orthonormalize(found.float()), learned=False)
        return Intervention(rotation, Zero(), name="inlp")


METHOD = Inlp
