"""Gradient subspace: the directions to which a scalar objective is most sensitive, projected out (arXiv 2602.06623).

Equation   h' = h - f P (h - mu),  P = V V^T,  V the top `rank` right singular vectors of G = [d loss / d h_i]
Fitted on  gradients of any `objective` on the training rows it asks for, in the unmodified model; mu is the mean
           activation there ("mean"), or of the negative or positive concept value, or the origin ("zero")
Steering   as trained, f the share removed: 0 changes nothing; also clamp, add, ablate
Shapes     x, gradient (N, width) -> V (width, rank)
Raises     InputError unless 1 <= rank <= the number of directions with a gradient, CapabilityError without gradients
Ours       the paper's code is not public: layer, rank and loss are choices here
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from das.edits.lerp import Lerp
from das.errors import CapabilityError, InputError, UnknownChoiceError
from das.estimators.base import NEGATIVE, POSITIVE, Differentiating, Examples
from das.featurizers.rotation import Rotation
from das.geometry import orthonormalize
from das.interventions.base import Intervention

Reference = Literal["mean", "negative", "positive", "zero"]
_REFERENCES: tuple[Reference, ...] = ("mean", "negative", "positive", "zero")
#: Singular values below this share of the largest are rounding.
_NOISE = 1e-6


@final
@dataclass(frozen=True)
class GradientSubspace(Differentiating):
    """Principal directions of an objective's gradients.

    Attributes:
        objective: what is differentiated (`das.objectives.base.Objective`).
        rank: how many directions.
        reference: what the coordinates are moved to.
    """

    objective: Any
    rank: int = 1
    reference: Reference = "mean"

    def __post_init__(self) -> None:
        if self.reference not in _REFERENCES:
            raise UnknownChoiceError("reference of gradient_subspace", self.reference, _REFERENCES)

    def fit(self, examples: Examples) -> Intervention:
        """Coordinates moved to the reference's."""
        if examples.gradient is None:
            raise CapabilityError("a gradient subspace is fitted on gradients", got="activations only")
        _, values, directions = torch.linalg.svd(examples.gradient.double(), full_matrices=False)
        most = int((values > _NOISE * values[0]).sum())
        if not 1 <= self.rank <= most:
            raise InputError(
                "the gradients do not span that many directions", got=f"rank {self.rank} of {most}",
                remedy="lower intervention.rank, give more data, or write where the objective depends on it",
            )  # fmt: skip
        basis = orthonormalize(directions[: self.rank].T.float())
        rotation = Rotation(examples.width, self.rank, basis=basis, learned=False)
        edit = Lerp(self.rank, basis.double().T @ self._origin(examples))
        return Intervention(rotation, edit, name="gradient_subspace")

    def _origin(self, examples: Examples) -> Float[Tensor, " width"]:
        match self.reference:
            case "mean":
                return examples.x.double().mean(0)
            case "zero":
                return torch.zeros(examples.width, dtype=torch.float64)
        return examples.side(NEGATIVE if self.reference == "negative" else POSITIVE).mean(0)


METHOD = GradientSubspace
