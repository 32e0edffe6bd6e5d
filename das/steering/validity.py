"""The curve that log-odds follow over the steering factor m (arXiv 2602.02343).

    D(m)              [1 + (m - m0)^2 / L]^-p, with one (m0, L, p) for m >= 0 and one for m < 0: how much of the model's
                      ability is left there; D(m0) = 1, and D falls as activations leave their manifold
    preference        (alpha m + beta) D(m) + b
    utility           beta D(m) + b

Least squares by L-BFGS in fp64, from several starts; the best is kept. A curve of 9 (8) parameters needs more points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from das.errors import InputError

_SHARED = 3
_SIDE = 3
_STARTS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Side:
    """D on one side of 0: m0, L and p."""

    center: float
    length: float
    power: float


@dataclass(frozen=True)
class Curve:
    """A fitted curve, and the share of the variance it explains.

    Attributes:
        alpha: nats per unit of the factor; 0 for utility.
        beta, offset: nats.
        positive, negative: D for m >= 0 and for m < 0.
        r2: 1 - residual / total sum of squares.
    """

    alpha: float
    beta: float
    offset: float
    positive: Side
    negative: Side
    r2: float

    def __call__(self, factors: Sequence[float | int]) -> list[float]:
        """Log-odds at these factors."""
        sides = [v for s in (self.positive, self.negative) for v in (s.center, log(s.length), log(s.power))]
        theta = torch.tensor([self.alpha, self.beta, self.offset, *sides], dtype=torch.float64)
        return [float(v) for v in _curve(theta, torch.tensor(list(factors), dtype=torch.float64), slope=True)]


def fit_curve(factors: Sequence[float | int], log_odds: Sequence[float], *, slope: bool) -> Curve:
    """Least squares.

    Args:
        factors: where the log-odds were measured.
        log_odds: one per factor, finite.
        slope: with alpha m (preference), or without (utility).

    Raises:
        InputError: not enough points, or some that are not finite.
    """
    m, y = (torch.tensor(list(v), dtype=torch.float64) for v in (factors, log_odds))
    needed = _SHARED + 2 * _SIDE + (0 if slope else -1)
    if len(m) != len(y) or len(m) <= needed or not bool(torch.isfinite(y).all()):
        raise InputError(
            "a curve needs more points than parameters, all of them finite", got=f"{len(m)} factors, {len(y)} log-odds",
            remedy=f"give at least {needed + 1} factors at which both log-odds exist",
        )  # fmt: skip
    fits = [_fitted(m, y, slope, start) for start in _STARTS]
    theta, residual = min(fits, key=lambda fit: fit[1])
    shared, positive, negative = theta.split([_SHARED, _SIDE, _SIDE])
    up, down = (Side(float(s[0]), float(s[1].exp()), float(s[2].exp())) for s in (positive, negative))
    alpha, beta, offset = shared.tolist()
    total = float(((y - y.mean()) ** 2).sum())
    explained = 1 - residual / total if total else float(residual == 0)
    return Curve(alpha if slope else 0.0, beta, offset, up, down, explained)


def _curve(theta: Float[Tensor, " parameter"], m: Float[Tensor, " point"], slope: bool) -> Float[Tensor, " point"]:
    alpha, beta, offset, *sides = theta
    center, length, power = (torch.where(m >= 0, sides[i], sides[_SIDE + i]) for i in range(_SIDE))
    validity = (1 + (m - center) ** 2 / length.exp()) ** -power.exp()
    return ((alpha * m if slope else 0.0) + beta) * validity + offset


def _fitted(m: Tensor, y: Tensor, slope: bool, start: float) -> tuple[Tensor, float]:
    scale = start * float(m.abs().max()) ** 2 + 1e-6
    side = [0.0, float(torch.tensor(scale).log()), 0.0]
    spread = float(y[m.argmax()] - y[m.argmin()]) / max(float(m.max() - m.min()), 1e-6)
    theta = torch.tensor([spread, float(y[m.abs().argmin()]), 0.0, *side, *side], dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = ((_curve(theta, m, slope) - y) ** 2).sum()
        found.backward()
        return found

    optimizer.step(loss)
    with torch.no_grad():
        residual = float(((_curve(theta, m, slope) - y) ** 2).sum())
    return theta.detach(), residual if residual == residual else float("inf")
