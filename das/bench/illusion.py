"""illusion (T8): a direction whose interchange decides every answer, though no computation uses it (arXiv 2311.17030).

Constructed, 16-dimensional, exact. A bit is written along `true` and along `unread`; W_out reads `true`, `dormant` and
two nuisance directions, and what follows adds three times `dormant`, which no input moves. (unread + dormant)/sqrt 2 is
illusory: its coordinate knows the bit, and a change along it wakes `dormant`. The diagnostic is to interchange the part
of a direction within W_out's row space: of the illusory one nothing is left, of the true one everything. IIA alone does
not tell the two apart (arXiv 2401.12631). Milliseconds.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from das.bench.base import Gate
from das.bench.fits import fixed, iia
from das.bench.vectors import Vectors
from das.geometry import random_orthonormal

WIDTH, PAIRS, SIZE, WAKES = 16, 1024, 2.0, 3.0


@final
class Illusion:
    """The benchmark."""

    title = "the interpretability illusion: an interchange that works and means nothing"

    def run(self, seed: int) -> list[Gate]:
        """The illusory and the true direction, and both parts of each."""
        generator = torch.Generator().manual_seed(seed)
        basis = random_orthonormal(WIDTH, WIDTH, generator)
        true, unread, dormant = basis[:, :3].split(1, dim=1)
        mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64)
        w_out = mixing.float() @ torch.cat([true, dormant, basis[:, 3:5]], 1).T
        after = torch.linalg.solve(mixing.T, torch.tensor([1.0, WAKES, 0.0, 0.0], dtype=torch.float64)).float()
        bits = torch.randint(0, 2, (2, PAIRS), generator=generator)
        base, source = (_states(b, basis, generator) for b in bits)

        def readout(h: Tensor) -> Tensor:
            score = h @ w_out.T @ after
            return torch.stack([-score, score], -1)

        pairs = Vectors(base, {"source": source}, readout, bits[0], bits[1])
        gates = [Gate("model: accuracy", float((readout(base).argmax(-1) == bits[0]).double().mean()), "== 1")]
        for name, direction, rows in (("illusory", unread + dormant, "<= 0.02"), ("true", true, ">= 0.99")):
            inside = _row_space(w_out) @ direction
            parts = [("", direction, ">= 0.99", ""), (", part that W_out reads", inside, "", rows)]
            if name == "illusory":  # of the true direction it is nothing
                parts.append((", part that it does not read", direction - inside, "", "<= 0.02"))
            for part, vector, bar, changed in parts:
                found = pairs.measure(fixed(F.normalize(vector, dim=0))(WIDTH))
                gates += iia(name + part, found, bar, changed)
                gates.append(Gate(f"{name}{part}: FLDD, changed pairs", found["fldd_changed"]))
        return gates


def _states(bits: Tensor, basis: Tensor, generator: torch.Generator) -> Tensor:
    """The bit along two directions, nothing along the dormant one, noise along all others."""
    coordinates = torch.randn(len(bits), WIDTH, generator=generator)
    coordinates[:, :2] = SIZE * (2.0 * bits[:, None] - 1)
    coordinates[:, 2] = 0
    return coordinates @ basis.T


def _row_space(weight: Tensor) -> Tensor:
    """The projection onto the row space of a matrix."""
    exact = weight.double()
    return (torch.linalg.pinv(exact) @ exact).float()


BENCH = Illusion()
