"""Orthonormal bases R (width x rank, orthonormal columns): residual, retraction, random draws, principal angles.

All maths in at least fp32. Cost of a retraction is O(width * rank^2); no width x width matrix is ever formed.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from das.errors import InputError
from das.shapes import Basis


def check_rank(width: int, rank: int) -> None:
    """Raise `InputError` unless 1 <= rank <= width."""
    if not 1 <= rank <= width:
        raise InputError("rank must lie between 1 and the site's width", got=f"rank {rank} at width {width}")


def orthonormality_residual(basis: Basis) -> float:
    """max |R^T R - I|, computed in fp64."""
    r = basis.detach().double()
    return float((r.T @ r - torch.eye(r.shape[1], dtype=r.dtype, device=r.device)).abs().max())


def orthonormalize(basis: Basis) -> Basis:
    """The Q of a thin QR with the diagonal of its triangle made positive.

    Continuous in its argument, and the identity on orthonormal columns: a retraction of the Stiefel manifold.
    Differentiable for full-rank input.
    """
    q, triangle = torch.linalg.qr(basis)
    return q * torch.where(triangle.diagonal() < 0, -1.0, 1.0).to(q)


def random_orthonormal(width: int, rank: int, generator: torch.Generator | None = None) -> Basis:
    """A basis drawn uniformly (Haar) from the Stiefel manifold, fp32."""
    check_rank(width, rank)
    return orthonormalize(torch.randn(width, rank, generator=generator))


def principal_cosines(a: Float[Tensor, "width rank_a"], b: Float[Tensor, "width rank_b"]) -> Float[Tensor, " angles"]:
    """Cosines of the principal angles between two orthonormal bases, descending, min(rank_a, rank_b) of them."""
    return torch.linalg.svdvals(a.double().T @ b.double()).clamp(max=1.0)
