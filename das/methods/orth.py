"""Orthogonal erasure: the span of the cross-covariance is projected to its mean, the simplest linear guardedness.

Equation   h' = h - f U U^T (h - mu),  U an orthonormal basis of cov_xz's column space         (LEACE with W = I)
Shapes     x (N, width) -> U (width, rank)
Raises     InputError where cov_xz is nothing beside the activations
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from das.edits.lerp import Lerp
from das.errors import InputError
from das.estimators.base import Examples
from das.estimators.moments import Moments, one_hot
from das.estimators.rounding import NEGLIGIBLE
from das.featurizers.rotation import Rotation
from das.geometry import orthonormalize
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Orth:
    """Orthogonal projection erasure.

    Attributes:
        svd_tolerance: smallest singular value kept, relative to the largest.
    """

    svd_tolerance: float = 0.01

    def fit(self, examples: Examples) -> Intervention:
        """Coordinates moved to their mean."""
        classes = examples.classes
        moments = Moments(examples.width, max(1, len(classes) - (len(classes) == 2)))
        moments.update(examples.x, one_hot(examples.label, classes))
        u, s, _ = torch.linalg.svd(moments.cov_xz, full_matrices=False)
        if not bool(s[0] > NEGLIGIBLE * moments.size):
            raise InputError("there is nothing to erase: activations and labels are uncorrelated", got=f"{s.tolist()}")
        basis = orthonormalize(u[:, s > self.svd_tolerance * s[0]].float())
        rotation = Rotation(examples.width, basis.shape[1], basis=basis, learned=False)
        return Intervention(rotation, Lerp(basis.shape[1], basis.double().T @ moments.mean_x), name="orth")


METHOD = Orth
