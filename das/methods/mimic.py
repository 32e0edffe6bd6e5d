"""MiMiC: activations of the negative value are mapped to the distribution of the positive one (arXiv 2402.09631).

Equation   h' = mu+ + A (h - mu-),  A = S-^(-1/2) (S-^(1/2) S+ S-^(1/2))^(1/2) S-^(-1/2),  S the two covariances
           the optimal transport between Gaussians: mean and covariance of what comes out are the positive value's
Shapes     x (N, width) -> A (width, width)
Raises     EmptySplitError for a value without prompts
Note       a full affine map: no subspace, so it can neither be interchanged nor clamped
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from das.edits.affine import Affine
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.featurizers.identity import Identity
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Mimic:
    """Optimal transport from the negative to the positive value.

    Attributes:
        ridge: added to both covariances, relative to their mean eigenvalue.
    """

    ridge: float = 1e-6

    def fit(self, examples: Examples) -> Intervention:
        """Applied to every activation that is written."""
        weight, bias = self.transport(examples)
        edit = Affine(examples.width, examples.width, weight=weight, bias=bias, learned=False)
        return Intervention(Identity(examples.width), edit, steering={}, name="mimic")

    def transport(self, examples: Examples) -> tuple[Float[Tensor, "width width"], Float[Tensor, " width"]]:
        """(A, mu+ - A mu-), fp64."""
        (plus, s_plus), (minus, s_minus) = (self._moments(examples.side(v)) for v in (POSITIVE, NEGATIVE))
        root, inverse = _powers(s_minus)
        middle, _ = _powers(root @ s_plus @ root)
        a = inverse @ middle @ inverse
        return a, plus - a @ minus

    def _moments(self, x: Float[Tensor, "row width"]) -> tuple[Tensor, Tensor]:
        mean = x.mean(0)
        cov = (x - mean).T @ (x - mean) / len(x)
        return mean, cov + self.ridge * cov.trace() / len(cov) * torch.eye(len(cov), dtype=cov.dtype)


def _powers(cov: Float[Tensor, "width width"]) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(cov)
    root = values.clamp(min=0).sqrt()
    inverse = torch.where(root > 0, 1 / root.clamp(min=1e-300), 0.0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


METHOD = Mimic
