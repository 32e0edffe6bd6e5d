"""Facts a subspace carries along: where a concept's values lie, and which model it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from das.models.fingerprint import fingerprint

Vector = Float[Tensor, " rank"]


@dataclass(frozen=True)
class Factors:
    """Where a concept's two values lie in the coordinates: what steering factors are multiples of.

    Attributes:
        positive, negative: mean coordinates (rank,) of the positive and the negative value on training prompts.
        positive_spread, negative_spread: standard deviations (rank,).
        labels: what the two values are called, (positive, negative).
        count: prompts per value.
    """

    positive: Vector
    negative: Vector
    positive_spread: Vector
    negative_spread: Vector
    labels: tuple[str, str]
    count: int

    @property
    def gap(self) -> float:
        """Distance between the means in pooled standard deviations, along the line through them."""
        pooled = ((self.positive_spread**2 + self.negative_spread**2) / 2).sum().sqrt()
        return float((self.positive - self.negative).norm() / pooled.clamp(min=1e-12))


@dataclass(frozen=True)
class ModelCard:
    """Which model a subspace belongs to."""

    name_or_path: str
    revision: str | None
    class_name: str
    width: int
    n_layers: int
    fingerprint: str

    @classmethod
    def of(cls, model: nn.Module) -> ModelCard:
        """Read off a loaded model."""
        config: Any = model.config
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        return cls(
            str(getattr(model, "name_or_path", "")), getattr(config, "_commit_hash", None), type(model).__name__,
            int(text.hidden_size), int(text.num_hidden_layers), fingerprint(model),
        )  # fmt: skip
