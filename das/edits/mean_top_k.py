"""Mean of the top k: the same amount is added at every position, the mean of the k largest latents (ReFT-r1).

Equation   a_t = relu(z_t),   z'_t = z_t + mean(top_k of a over the row's positions)         (arXiv 2501.17148)
Penalty    progress * weight * mean of the latents outside the top k; "latents" reports a, (B, P, rank)
Sequence   every position sees all positions of its row, so it cannot run token by token: steer with "add_max" instead
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch

from das.context import Context
from das.edits.base import Edit, EditResult
from das.shapes import Activation, Coordinates, SourceCoordinates


@final
class MeanTopK(Edit):
    """Adds the mean of the k largest rectified coordinates of each row.

    Args:
        k: how many positions take part; all of them in rows that have fewer.
        weight: of the penalty at the end of training; it rises linearly from 0.
    """

    scope = "sequence"

    def __init__(self, k: int = 8, weight: float = 0.005) -> None:
        super().__init__()
        self.k, self.weight = k, weight

    def forward(
        self, z: Coordinates, h: Activation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """The shifted coordinates."""
        real = torch.ones_like(z[..., :1], dtype=torch.bool) if ctx.token_mask is None else ctx.token_mask[..., None]
        latents = torch.where(real, z.relu(), 0.0)
        ranked, _ = torch.where(real, latents, -1.0).sort(dim=1, descending=True)
        count = real.sum(1, keepdim=True).clamp(max=self.k)
        place = torch.arange(z.shape[1], device=z.device)[None, :, None]
        mean = torch.where(place < count, ranked, 0.0).sum(1, keepdim=True) / count.clamp(min=1)
        rest = (place >= count) & (ranked >= 0)
        sparsity = torch.where(rest, ranked, 0.0).sum() / rest.sum().clamp(min=1)
        aux = {"latents": latents, "penalty/latents": ctx.trained(self) * self.weight * sparsity}
        return z + mean, aux

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"k": self.k, "weight": self.weight}
