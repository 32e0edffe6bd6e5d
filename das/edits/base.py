"""The interface of an edit: `edit(z, h, sources, ctx) -> (z', aux)`.

`sources` maps source names to *their* coordinates in the same featurizer. `aux` carries penalties and latents that an
objective may use; an edit keeps no state between calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from das.batch import Context
from das.shapes import Coordinates, SourceActivation, SourceCoordinates

EditResult = tuple[Coordinates, dict[str, Tensor]]


class Edit(nn.Module, ABC):
    """Abstract."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources this edit needs; empty for edits without one."""
        return ()

    @abstractmethod
    def forward(
        self, z: Coordinates, h: SourceActivation, sources: Mapping[str, SourceCoordinates], ctx: Context
    ) -> EditResult:
        """New coordinates (B, P, rank) and aux values."""

    def params(self) -> dict[str, Any]:
        """Constructor arguments as plain data (tensors live in the state dict)."""
        return {}
