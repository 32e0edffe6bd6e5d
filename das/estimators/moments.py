"""Streaming means and covariances: Welford's update for batches, fp64, one pass over any amount of data.

mean   E[x], E[z]          cov_xx   E[(x - E x)(x - E x)^T]          cov_xz   E[(x - E x)(z - E z)^T]
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from das.errors import EmptySplitError


@final
class Moments:
    """Joint first and second moments of activations x and concept labels z.

    Args:
        width: size of x.
        labels: size of z.
    """

    def __init__(self, width: int, labels: int) -> None:
        self.count = 0
        self.mean_x = torch.zeros(width, dtype=torch.float64)
        self.mean_z = torch.zeros(labels, dtype=torch.float64)
        self._xx = torch.zeros(width, width, dtype=torch.float64)
        self._xz = torch.zeros(width, labels, dtype=torch.float64)

    def update(self, x: Float[Tensor, "row width"], z: Float[Tensor, "row labels"]) -> Moments:
        """Take in a batch."""
        x, z = x.detach().double().cpu(), z.detach().double().cpu()
        if not len(x):
            return self
        total = self.count + len(x)
        dx, dz = x.mean(0) - self.mean_x, z.mean(0) - self.mean_z
        share = self.count * len(x) / total
        cx, cz = x - x.mean(0), z - z.mean(0)
        self._xx += cx.T @ cx + share * torch.outer(dx, dx)
        self._xz += cx.T @ cz + share * torch.outer(dx, dz)
        self.mean_x = self.mean_x + dx * len(x) / total
        self.mean_z = self.mean_z + dz * len(x) / total
        self.count = total
        return self

    @property
    def cov_xx(self) -> Float[Tensor, "width width"]:
        """Covariance of x (divided by the count)."""
        return self._xx / self._rows()

    @property
    def cov_xz(self) -> Float[Tensor, "width labels"]:
        """Cross-covariance of x and z."""
        return self._xz / self._rows()

    @property
    def size(self) -> float:
        """Root mean square length of x."""
        return float((self.cov_xx.trace() + self.mean_x.square().sum()).sqrt())

    def _rows(self) -> int:
        if not self.count:
            raise EmptySplitError("moments of nothing", got="0 rows", remedy="update with activations first")
        return self.count


def shrunk(cov: Float[Tensor, "width width"], count: int) -> Float[Tensor, "width width"]:
    """Optimal linear shrinkage towards a multiple of the identity (Bodnar, Gupta and Parolya, arXiv 1308.2608).

    Equation   a S + (1 - a) tr(S)/p I,   a = 1 - tr(S)^2 / (n (||S||_F^2 - tr(S)^2/p)), clipped to [0, 1]
    """
    width = cov.shape[0]
    trace = cov.trace()
    spread = count * (cov.square().sum() - trace**2 / width)
    keep = 0.0 if spread <= 0 else min(1.0, max(0.0, 1.0 - float(trace**2 / spread)))
    return keep * cov + (1 - keep) * trace / width * torch.eye(width, dtype=cov.dtype, device=cov.device)


def one_hot(label: Tensor, classes: tuple[int, ...]) -> Float[Tensor, "row labels"]:
    """Labels as indicator columns; a single column for a two-valued concept."""
    columns = classes[1:] if len(classes) == 2 else classes
    return torch.stack([label == c for c in columns], 1).double()
