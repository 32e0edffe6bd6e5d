"""What counts as nothing beside the activations: fp32 rounding must be no direction to add, to read or to erase."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from das.errors import InputError

#: What is shorter than this share of the activations is rounding.
NEGLIGIBLE = 1e-6


def unit(vector: Float[Tensor, " width"], what: str, size: float) -> Float[Tensor, " width"]:
    """The vector at length one; InputError where it is nothing beside activations of this size."""
    norm = vector.norm()
    if not bool(torch.isfinite(norm)) or not bool(norm > NEGLIGIBLE * size):
        raise InputError(
            f"{what} is zero, so it has no direction", got=f"length {float(norm):.3g} beside {size:.3g}",
            remedy="read at another layer or position: here the two concept values do not differ",
        )  # fmt: skip
    return vector / norm


def principal(
    x: Float[Tensor, "row width"],
) -> tuple[Float[Tensor, "row rank"], Float[Tensor, " rank"], Float[Tensor, "rank width"]]:
    """u, s, v with x - mean = u diag(s) v, of the directions in which x varies by more than rounding; fp64."""
    x = x.double()
    u, spread, axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    kept = spread > NEGLIGIBLE * x.norm()
    return u[:, kept], spread[kept], axes[kept]
