"""What an intervention may look at besides the activations it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from das.errors import CapabilityError, ConfigError
from das.shapes import Activation, Coordinates, Index, PositionMask


@dataclass(frozen=True)
class Context:
    """Every field is optional.

    Attributes:
        token_mask: which of the given positions are real, (B, P).
        position_ids: their real positions in the row, (B, P).
        prompt_mask: which of them belong to the prompt, not to the response, (B, P); None where all do.
        factor: steering factor per row, (B,); positive means towards the positive concept value.
        per_row: name -> one entry per row, (B, ...): what a batch says of its rows (a concept's embedding, ...) and
            what a conditioner made of them.
        source_masks: source name -> which of its positions are real, (B, P or 1 or, unaligned, any).
        progress: share of training done, in [0, 1]. Drives annealed temperatures; hard masks are hard at 1. None means
            1 in eval mode, and in train mode is an error of annealed parts.
    """

    token_mask: PositionMask | None = None
    position_ids: Index | None = None
    prompt_mask: PositionMask | None = None
    factor: Float[Tensor, " batch"] | None = None
    per_row: Mapping[str, Tensor] = field(default_factory=dict)
    source_masks: Mapping[str, Bool[Tensor, "batch source"]] = field(default_factory=dict)
    progress: float | None = None

    @classmethod
    def of_tokens(
        cls,
        *,
        token_mask: PositionMask | None,
        position_ids: Index,
        prompt_mask: PositionMask,
        factor: Float[Tensor, " batch"] | None,
        per_row: Mapping[str, Tensor],
        source_masks: Mapping[str, Bool[Tensor, "batch source"]],
        progress: float | None,
    ) -> Context:
        """The context of an edit within a model's forward: all is said, so that no part takes a response for prompt."""
        return cls(token_mask, position_ids, prompt_mask, factor, per_row, source_masks, progress)

    def visible(self, h: Activation) -> PositionMask:
        """Which positions of the activations are real and belong to the prompt, (B, P)."""
        seen = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
        for mask in (self.token_mask, self.prompt_mask):
            seen = seen if mask is None else seen & mask.to(h.device)
        return seen

    def trained(self, part: nn.Module) -> float:
        """Share of training done, for a part that changes with it.

        Raises:
            CapabilityError: the part is being trained, and is not told how far.
        """
        if self.progress is None and part.training:
            raise CapabilityError(
                f"{type(part).__name__} changes while it is trained, and is not told how far training is",
                got="no progress in train mode",
                remedy="give Context(progress=step / steps), or call .eval() to use what was learned",
            )  # fmt: skip
        return 1.0 if self.progress is None else self.progress

    def strength(self, z: Coordinates) -> Float[Tensor, "#batch 1 1"]:
        """The steering factor of every row, in the dtype of the coordinates; one where none is given."""
        return z.new_ones(1, 1, 1) if self.factor is None else self.factor.to(z)[:, None, None]

    def row(self, name: str) -> Tensor:
        """What is known of each row under a name, (B, ...).

        Raises:
            CapabilityError: nothing.
        """
        if name not in self.per_row:
            raise CapabilityError(
                f"this part needs {name!r} of every row, which a conditioner makes", got=f"{sorted(self.per_row)}",
                remedy="a subspace of this method depends on the row: use the whole intervention",
            )  # fmt: skip
        return self.per_row[name]

    def with_rows(self, more: Mapping[str, Tensor]) -> Context:
        """The same context knowing more of its rows.

        Raises:
            ConfigError: something is known under one of these names.
        """
        if twice := set(more) & set(self.per_row):
            raise ConfigError(
                "a conditioner gives what the batch says of its rows already", got=str(sorted(twice)),
                remedy="give one of the two another name",
            )  # fmt: skip
        return replace(self, per_row={**self.per_row, **more})
