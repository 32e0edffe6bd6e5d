"""What an intervention may look at besides the activations it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Bool, Float
from torch import Tensor

from das.shapes import Index, PositionMask


@dataclass(frozen=True)
class Context:
    """Every field is optional.

    Attributes:
        token_mask: which of the given positions are real, (B, P).
        position_ids: their real positions in the row, (B, P).
        factor: steering factor per row, (B,); positive means towards the positive concept value.
        per_row: name -> one entry per row, (B, ...): what a batch says of its rows (a concept's embedding, ...) and
            what a conditioner made of them.
        source_masks: source name -> which of its positions are real, (B, P or 1 or, unaligned, any).
        progress: share of training done, in [0, 1]; 1 outside training. Drives annealed temperatures; hard masks are
            hard at 1.
    """

    token_mask: PositionMask | None = None
    position_ids: Index | None = None
    factor: Float[Tensor, " batch"] | None = None
    per_row: Mapping[str, Tensor] = field(default_factory=dict)
    source_masks: Mapping[str, Bool[Tensor, "batch source"]] = field(default_factory=dict)
    progress: float = 1.0

    def with_rows(self, more: Mapping[str, Tensor]) -> Context:
        """The same context knowing more of its rows."""
        return replace(self, per_row={**self.per_row, **more})
