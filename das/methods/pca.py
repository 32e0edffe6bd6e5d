"""PCA: the interchange along the directions of largest variance (RAVEL's and MIB's baseline, arXiv 2402.17700).

Equation   h' = h + R (R^T s - R^T h),  R the top `rank` principal directions of the activations of both values
Shapes     x (N, width) -> R (width, rank)
Raises     InputError unless 1 <= rank <= the number of directions in which the activations vary
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from das.edits.swap import Swap
from das.errors import InputError
from das.estimators.base import Examples
from das.estimators.rounding import principal
from das.featurizers.rotation import Rotation
from das.geometry import orthonormalize
from das.interventions.base import Intervention


@final
@dataclass(frozen=True)
class Pca:
    """Principal directions.

    Attributes:
        rank: how many.
    """

    rank: int = 1

    def fit(self, examples: Examples) -> Intervention:
        """Swapped, frozen."""
        _, spread, directions = principal(examples.x)
        most = min(len(spread), examples.width - 1)
        if not 1 <= self.rank <= most:
            raise InputError("too many principal directions", got=f"rank {self.rank} of {most} at most")
        basis = orthonormalize(directions[: self.rank].T.float())
        return Intervention(Rotation(examples.width, self.rank, basis=basis, learned=False), Swap(), name="pca")


METHOD = Pca
