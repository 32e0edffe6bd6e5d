"""The prompts of a batch's rows: from the texts a user gives, or from bare token ids.

What counts as a prompt's protected prefix is as it was in training: the special tokens the tokenizer puts in front,
or the chat template's header where the subspace was trained in chats (`Subspace.training["data"]` says so).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any, final

from torch import Tensor, nn

from das.artifacts.subspace import Subspace
from das.data.encode import Encoder
from das.data.positions import PositionSpec
from das.data.spans import AnyPrompt, as_prompt, prompt_from_ids
from das.data.tokenize import EncodedPrompt, Tokenizer
from das.errors import InputError, ModelError, PositionError, TokenizerError
from das.models.load import load_tokenizer
from das.types import Prompt


def trained_chat(subspace: Subspace | None) -> tuple[bool, str | None]:
    """Whether a subspace was trained on chat prompts, and with which system prompt."""
    data = {} if subspace is None else subspace.training.get("data")
    if not isinstance(data, Mapping):
        return False, None
    return bool(data.get("chat", False)), data.get("system")


@final
class PromptReader:
    """Reads prompts for one steering.

    Args:
        model: the steered model; its tokenizer is loaded when needed.
        subspace: says how it was trained and how to find its span.
        specs: positions steered; marks are taken to be the spans they name.
        tokenizer: instead of the model's own.
    """

    def __init__(
        self, model: nn.Module, subspace: Subspace, specs: Sequence[PositionSpec], tokenizer: Tokenizer | None
    ) -> None:
        self._model, self._given, self.finder = model, tokenizer, subspace.finder
        self._names = tuple(dict.fromkeys(s.name for s in specs if s.kind == "span"))
        self._needs_text = any(s.kind in ("span", "template") for s in specs)
        self._chat, self._system = trained_chat(subspace)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer given, or the model's own. Raises TokenizerError where there is none."""
        return load_tokenizer(self._model) if self._given is None else self._given

    @cached_property
    def encoder(self) -> Encoder:
        """Tokenizes prompts as in training."""
        return Encoder.of(self._model, self.tokenizer, chat=self._chat, system=self._system)

    def from_texts(self, prompts: Sequence[AnyPrompt]) -> list[EncodedPrompt]:
        """Prompts as in training, with their spans from marks or from the finder.

        Raises:
            InputError: a single string, or no prompt at all.
            DasError: whatever is wrong with a prompt (`Encoder.encode`).
        """
        if isinstance(prompts, str | Prompt) or not prompts:
            raise InputError("prompts must be a list with at least one text", got=repr(prompts), remedy="give [text]")
        return list(self.encoder.encode_all([as_prompt(p, self._names, self.finder) for p in prompts]))

    def from_ids(self, ids: Tensor | None, mask: Tensor) -> list[EncodedPrompt]:
        """Prompts of rows of ids (B, L); where the ids are unknown (None), of their length alone.

        Raises:
            PositionError: the positions need a text, and there are no ids.
        """
        if ids is None:
            if self._needs_text:
                raise PositionError(
                    "these positions are found in a prompt's text, but only embeddings or a part of it were given",
                    remedy="give input_ids in full, or steer(..., prompts=[...])",
                )
            return [EncodedPrompt((0,) * n, (), self.prefix, "", {}) for n in mask.sum(1).tolist()]
        rows = [row[real].tolist() for row, real in zip(ids, mask, strict=True)]
        if self._needs_text:
            return [prompt_from_ids(self.tokenizer, row, self.finder, self._prefix_of(row)) for row in rows]
        return [EncodedPrompt(tuple(row), (), self._prefix_of(row), f"token ids {row}", {}) for row in rows]

    @cached_property
    def prefix(self) -> int:
        """Protected tokens in front of any prompt encoded as in training; 0 without a tokenizer."""
        return len(self._header)

    @cached_property
    def _header(self) -> tuple[int, ...]:
        if self._optional is None:
            return ()
        encoded = self.encoder.encode(Prompt("a"))
        return encoded.ids[: encoded.prefix]

    @cached_property
    def _optional(self) -> Tokenizer | None:
        try:
            return self.tokenizer
        except (TokenizerError, ModelError):
            return None

    @cached_property
    def _specials(self) -> frozenset[int]:
        if self._optional is not None:
            return frozenset(self._optional.all_special_ids)
        config: Any = getattr(self._model, "generation_config", None) or self._model.config
        found = [getattr(config, f"{name}_token_id", None) for name in ("bos", "eos", "pad")]
        return frozenset(i for value in found for i in (value if isinstance(value, list) else [value]) if i is not None)

    def _prefix_of(self, row: list[int]) -> int:
        """Leading special tokens, but no more than training protected; in a chat, the whole header."""
        if self.prefix and tuple(row[: self.prefix]) == self._header:
            return self.prefix
        leading = len(list(takewhile(self._specials.__contains__, row)))
        return leading if self._optional is None else min(leading, self.prefix)
