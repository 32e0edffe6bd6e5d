"""Logistic regression, the probe: convex, fitted to the optimum in fp64.

Equation   min_{w,b} 1/n sum_i log(1 + exp(-y_i (w.x_i + b))) + l2/2 s^2 |w|^2,  y in {-1, 1}
           s^2 the mean variance of a neuron: a neuron that hardly varies cannot buy a large weight by that
Solved in  principal coordinates; directions in which x varies by rounding only get no weight
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from das.estimators.rounding import principal


@dataclass(frozen=True)
class Probe:
    """A linear classifier in the activations' own units: positive where w.x + b > 0."""

    weight: Float[Tensor, " width"]
    bias: float

    def accuracy(self, x: Float[Tensor, "row width"], positive: Bool[Tensor, " row"]) -> float:
        """Share of rows on the right side."""
        return float(((x.double() @ self.weight + self.bias > 0) == positive).double().mean())

    def loss(self, x: Float[Tensor, "row width"], positive: Bool[Tensor, " row"]) -> float:
        """Mean cross-entropy, nats."""
        return float(F.binary_cross_entropy_with_logits(x.double() @ self.weight + self.bias, positive.double()))


def fit_probe(
    x: Float[Tensor, "row width"], positive: Bool[Tensor, " row"], l2: float = 1e-3, iterations: int = 200
) -> Probe:
    """The optimum, by L-BFGS; no weights where x varies by rounding only.

    Args:
        x: activations.
        positive: which are of the positive value.
        l2: ridge, in units of the mean variance.
        iterations: at most.
    """
    x = x.double()
    mean = x.mean(0)
    u, spread, axes = principal(x)
    variance = spread.square() / len(x)
    ridge = l2 * variance.sum() / x.shape[1]
    step = (variance + 4 * ridge).rsqrt()  # the loss curves by at most 1/4 variance + ridge
    z, sign = u * spread * step, torch.where(positive, 1.0, -1.0).double()
    w = torch.zeros(len(step), dtype=torch.float64, device=x.device, requires_grad=True)
    b = torch.zeros((), dtype=torch.float64, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [w, b], max_iter=iterations, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.softplus(-sign * (z @ w + b)).mean() + ridge / 2 * (step * w).square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    weight = (step * w.detach()) @ axes
    return Probe(weight, float(b.detach() - weight @ mean))
