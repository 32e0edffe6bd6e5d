"""R-LACE: linear adversarial concept erasure by a minimax game over the Fantope (arXiv 2201.12091).

Equation   min_theta max_P BCE(theta; (I - P) x, y),  P in {0 <= P <= I, tr P = rank};  h' = (I - P) h
           P is symmetrised and its eigenvalues projected, clip(l_i - t, 0, 1) with t so that they sum to rank; finally
           the top `rank` eigenvectors
Played on  activations less their mean, which the predictor's bias takes up anyway, scaled to unit variance
Kept       of the projections evaluated, the one after which a fresh probe on the training examples has the largest
           cross-entropy; a warning where that probe still beats the majority by more than `tolerance`
Shapes     x (N, width) -> R (width, rank)
Raises     InputError unless 1 <= rank < width, or for activations that are all the same; EmptySplitError for a value
           without prompts
Cost       one width x width eigendecomposition per step
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from das.edits.zero import Zero
from das.errors import InputError
from das.estimators.base import POSITIVE, Examples
from das.estimators.logistic import fit_probe
from das.featurizers.rotation import Rotation
from das.geometry import orthonormalize
from das.interventions.base import Intervention

logger = logging.getLogger("das.methods")


@final
@dataclass(frozen=True)
class Rlace:
    """Adversarial erasure.

    Attributes:
        rank: directions erased.
        steps: of the game, one of the predictor and one of the projection each.
        lr, weight_decay, batch_size: of both players' SGD, on activations of unit variance (the authors: lr 0.005 and
            75,000 steps).
        every: steps between evaluations.
        tolerance: stop once a fresh probe is within this of the majority's share.
        seed: of batches and predictor; torch's generator (in a run, the run's seed) if None.
    """

    rank: int = 1
    steps: int = 1000
    lr: float = 0.05
    weight_decay: float = 1e-4
    batch_size: int = 128
    every: int = 100
    tolerance: float = 0.0015
    seed: int | None = None

    def fit(self, examples: Examples) -> Intervention:
        """Coordinates set to zero."""
        if not 1 <= self.rank < examples.width:
            raise InputError("rank must lie between 1 and less than the width", got=f"{self.rank} at {examples.width}")
        examples.means()  # both values must be there
        with torch.enable_grad():
            basis = self._play(examples.centred(), examples.label == POSITIVE)
        rotation = Rotation(examples.width, self.rank, basis=orthonormalize(basis.float()), learned=False)
        return Intervention(rotation, Zero(), name="rlace")

    def _play(self, x: Tensor, positive: Tensor) -> Tensor:
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        width, y = x.shape[1], positive.double()
        majority = max(float(y.mean()), 1 - float(y.mean()))
        p = (torch.randn(width, width, generator=generator, dtype=torch.float64) / width).requires_grad_()
        w = (torch.randn(width, generator=generator, dtype=torch.float64) / width**0.5).requires_grad_()
        b = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        predictor = torch.optim.SGD([w, b], lr=self.lr, weight_decay=self.weight_decay)
        projector = torch.optim.SGD([p], lr=self.lr, weight_decay=self.weight_decay)
        best, most, beats = _top(fantope(p.detach(), self.rank), self.rank), -1.0, 1.0
        unit = x / x.square().mean().sqrt()
        for step in range(1, self.steps + 1):
            rows = torch.randint(len(x), (min(self.batch_size, len(x)),), generator=generator)
            for player, sign in ((projector, -1.0), (predictor, 1.0)):
                player.zero_grad()
                left = unit[rows] - unit[rows] @ _symmetric(p)
                (sign * F.binary_cross_entropy_with_logits(left @ w + b, y[rows])).backward()
                player.step()
            p.data = fantope(p.detach(), self.rank)
            if step % self.every == 0 or step == self.steps:
                basis = _top(p.detach(), self.rank)
                left = unit - unit @ basis @ basis.T
                probe = fit_probe(left, positive)
                if (loss := probe.loss(left, positive)) > most:
                    best, most, beats = basis, loss, probe.accuracy(left, positive) - majority
                if beats <= self.tolerance:
                    break
        if beats > self.tolerance:
            logger.warning("rlace: after %d steps a probe still beats the majority by %.3f on the training examples; "
                           "more steps, or a larger rank, erase more", step, beats)  # fmt: skip
        return best


def fantope(p: Float[Tensor, "width width"], rank: int) -> Float[Tensor, "width width"]:
    """The nearest matrix with eigenvalues in [0, 1] that sum to `rank`."""
    values, vectors = torch.linalg.eigh(_symmetric(p))
    knots = torch.cat([values, values - 1]).sort().values  # between these t, sum_i clip(l_i - t, 0, 1) falls linearly
    sums = (values[None] - knots[:, None]).clamp(0, 1).sum(1)
    n = int((sums >= rank).sum().clamp(1, len(knots) - 1))
    slope = (sums[n - 1] - sums[n]) / (knots[n] - knots[n - 1]).clamp(min=1e-300)
    t = knots[n - 1] + torch.where(slope > 0, (sums[n - 1] - rank) / slope.clamp(min=1e-300), 0.0)
    return (vectors * (values - t).clamp(0, 1)) @ vectors.T


def _symmetric(p: Tensor) -> Tensor:
    return (p + p.T) / 2


def _top(p: Tensor, rank: int) -> Tensor:
    return torch.linalg.eigh(_symmetric(p)).eigenvectors[:, -rank:]


METHOD = Rlace
