"""Logistic regression, the probe: convex, fitted to the optimum in fp64.

Equation   min_{w,b} 1/n sum_i log(1 + exp(-y_i (w.x_i + b))) + l2/2 |w|^2 on standardised x, y in {-1, 1}
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Probe:
    """A linear classifier in the activations' own units: positive where w.x + b > 0."""

    weight: Float[Tensor, " width"]
    bias: float

    def accuracy(self, x: Float[Tensor, "row width"], positive: Bool[Tensor, " row"]) -> float:
        """Share of rows on the right side."""
        return float(((x.double() @ self.weight + self.bias > 0) == positive).double().mean())


def fit_probe(
    x: Float[Tensor, "row width"], positive: Bool[Tensor, " row"], l2: float = 1e-3, iterations: int = 200
) -> Probe:
    """The optimum, by L-BFGS.

    Args:
        x: activations.
        positive: which are of the positive value.
        l2: ridge on standardised coordinates.
        iterations: at most.
    """
    x = x.double()
    mean, scale = x.mean(0), x.std(0, unbiased=False).clamp(min=1e-8)
    z, sign = (x - mean) / scale, torch.where(positive, 1.0, -1.0).double()
    w = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device, requires_grad=True)
    b = torch.zeros((), dtype=torch.float64, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [w, b], max_iter=iterations, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.softplus(-sign * (z @ w + b)).mean() + l2 / 2 * w.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    weight = w.detach() / scale
    return Probe(weight, float(b.detach() - weight @ mean))
