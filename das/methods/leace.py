"""LEACE: least-squares concept erasure; no linear classifier then does better than a constant (arXiv 2306.03819).

Equation   h' = h - f W^+ U U^T W (h - mu),  W = cov_xx^(-1/2),  U the left singular vectors of W cov_xz
Shapes     x (N, width) -> an oblique pair (width, rank), rank at most the number of values less one
Raises     InputError where cov_xz is nothing beside the activations, or weak (svd_tolerance)
Options    shrink the covariance (few examples), svd_tolerance drops weak directions, constrain_trace blends towards the
           orthogonal projection where the erased activations would have a larger trace than before (as concept-erasure)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from das.edits.lerp import Lerp
from das.errors import InputError
from das.estimators.base import Examples
from das.estimators.moments import Moments, one_hot, shrunk
from das.estimators.rounding import NEGLIGIBLE
from das.featurizers.oblique import Oblique
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Leace:
    """Least-squares erasure.

    Attributes:
        shrinkage: shrink the covariance towards a multiple of the identity, optimally.
        svd_tolerance: smallest singular value kept.
        constrain_trace: never increase the trace of the covariance.
    """

    shrinkage: bool = True
    svd_tolerance: float = 0.01
    constrain_trace: bool = True

    def fit(self, examples: Examples) -> Intervention:
        """Coordinates moved to their mean."""
        found = Moments(examples.width, max(1, len(examples.classes) - (len(examples.classes) == 2)))
        found.update(examples.x, one_hot(examples.label, examples.classes))
        return self.fit_moments(found)

    def fit_moments(self, moments: Moments) -> Intervention:
        """From streamed moments of any number of examples.

        Raises:
            InputError: activations and labels are uncorrelated.
        """
        left, right = self.projection(moments)
        featurizer = Oblique(len(left), left.shape[1], right=right, left=left)
        return Intervention(featurizer, Lerp(left.shape[1], right.T @ moments.mean_x), name="leace")

    def projection(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """(left, right) in fp64, (width, rank) each: what is erased is left right^T (h - mu)."""
        cov = shrunk(moments.cov_xx, moments.count) if self.shrinkage else moments.cov_xx
        values, vectors = torch.linalg.eigh(cov)
        kept = values > values.max() * len(values) * torch.finfo(values.dtype).eps
        root = torch.where(kept, values.clamp(min=0).sqrt(), 0.0)
        inverse = torch.where(kept, 1 / root.clamp(min=1e-300), 0.0)
        whiten, unwhiten = (vectors * inverse) @ vectors.T, (vectors * root) @ vectors.T
        u, s, _ = torch.linalg.svd(whiten @ moments.cov_xz, full_matrices=False)
        u = u[:, s > self.svd_tolerance]
        if not u.shape[1] or not bool(moments.cov_xz.norm() > NEGLIGIBLE * moments.size):
            raise InputError(
                "there is nothing to erase: activations and labels are uncorrelated",
                got=f"singular values {s.tolist()}",
                remedy="read at another layer or position, or lower svd_tolerance",
            )  # fmt: skip
        left, right = unwhiten @ u, whiten @ u
        return self._constrained(left, right, moments.cov_xx) if self.constrain_trace else (left, right)

    def _constrained(self, left: Tensor, right: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
        """Blend P with the orthogonal projection on the same kernel until tr(Q cov Q^T) <= tr(cov), Q = I - P."""
        identity = torch.eye(len(cov), dtype=cov.dtype)
        oblique = identity - left @ right.T
        basis = torch.linalg.qr(left)[0]
        orthogonal = identity - basis @ basis.T
        before, after = cov.trace(), (oblique @ cov @ oblique.T).trace()
        if after <= before:
            return left, right
        # Q(t) = orthogonal + t (oblique - orthogonal) erases the same span for all t; its trace is quadratic in t.
        step = oblique - orthogonal
        a = (step @ cov @ step.T).trace()
        b = 2 * (step @ cov @ orthogonal.T).trace()
        c = (orthogonal @ cov @ orthogonal.T).trace() - before
        t = ((-b + (b**2 - 4 * a * c).clamp(min=0).sqrt()) / (2 * a)).clamp(0, 1)
        blended = identity - (orthogonal + t * step)
        return left, torch.linalg.lstsq(left, blended).solution.T


METHOD = Leace
