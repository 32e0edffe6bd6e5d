"""MiMiC: activations of the negative value are mapped to the distribution of the positive one (arXiv 2402.09631).

Equation   h' = mu+ + A (h - mu-),  A = S-^(-1/2) (S-^(1/2) S+ S-^(1/2))^(1/2) S-^(-1/2),  S the two covariances
           the optimal transport between Gaussians: mean and covariance of what comes out are the positive value's
           (with shrinkage: of the shrunk covariances, so that few rows per value do not blow up unseen activations)
Shapes     x (N, width) -> A (width, width)
Raises     EmptySplitError for a value without prompts, InputError where a value's activations are all the same
Note       a full affine map: no subspace, so it can neither be interchanged nor clamped
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from das.edits.affine import Affine
from das.errors import InputError
from das.estimators.base import NEGATIVE, POSITIVE, Examples
from das.estimators.moments import shrunk
from das.estimators.rounding import NEGLIGIBLE
from das.featurizers.identity import Identity
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Mimic:
    """Optimal transport from the negative to the positive value.

    Attributes:
        shrinkage: shrink both covariances towards multiples of the identity, optimally; without it directions in which
            the negative value's activations do not vary are dropped.
    """

    shrinkage: bool = True

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
        if not bool((x - mean).norm() > NEGLIGIBLE * x.norm()):
            raise InputError("activations of one concept value are all the same, so they have no covariance",
                             got=f"{len(x)} rows", remedy="give more prompts, or read at another layer")  # fmt: skip
        return mean, shrunk(cov, len(x)) if self.shrinkage else cov


def _powers(cov: Float[Tensor, "width width"]) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(cov)
    kept = values > values.max() * len(values) * torch.finfo(values.dtype).eps
    root = torch.where(kept, values.clamp(min=0).sqrt(), 0.0)
    inverse = torch.where(kept, 1 / root.clamp(min=1e-300), 0.0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


METHOD = Mimic
