"""Which model a subspace belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from das.models.fingerprint import fingerprint


@dataclass(frozen=True)
class ModelCard:
    """A model's name, shape and fingerprint."""

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
