"""Text to token ids: prompts with their spans, labels and responses.

A label's tokens are tokens(prompt + label) minus tokens(prompt), because a label tokenized alone can start with a
spurious space token. A response written by a model is never tokenized jointly with its prompt: its ids are
concatenated, so that base and source hold the same response tokens (arXiv 2602.05234; its reference code retokenizes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any, final

from das.data.chat import PROBES, ChatTemplate
from das.data.tokenize import EncodedPrompt, Tokenizer, Tokens, require_offsets, span_tokens, tokenize
from das.errors import ConfigError, ContextLengthError, LabelError
from das.types import Prompt


@final
class Encoder:
    """Tokenizes prompts, labels and responses in one consistent way.

    Args:
        tokenizer: a fast tokenizer (character offsets are needed).
        context_length: the model's number of positions, or None to check no lengths.
        chat: put prompts through the chat template, as one user message with the generation header.
        system: system prompt of the chat.

    Raises:
        TokenizerError: without offsets, or with `chat` and no usable chat template.
        ConfigError: if `system` is given without `chat`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        context_length: int | None = None,
        chat: bool = False,
        system: str | None = None,
    ) -> None:
        require_offsets(tokenizer)
        if system is not None and not chat:
            raise ConfigError("a system prompt needs chat=True", got=system, remedy="set chat=True or drop it")
        self.tokenizer = tokenizer
        self.context_length = context_length
        self._template = ChatTemplate(tokenizer, system) if chat else None

    @classmethod
    def of(cls, model: Any, tokenizer: Tokenizer, *, chat: bool = False, system: str | None = None) -> Encoder:
        """An encoder that knows a model's context length."""
        length = getattr(model.config, "max_position_embeddings", None)
        return cls(tokenizer, context_length=length, chat=chat, system=system)

    @property
    def pad_id(self) -> int:
        """A token id to pad with; masks keep it from having an effect."""
        ids = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(int(i) for i in ids if i is not None)

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Tokenize one prompt.

        Raises:
            PositionError: if the chat template altered the text, or a mention has no token.
            ContextLengthError: if the prompt alone is longer than the context.
        """
        return next(self.encode_all([prompt]))

    def encode_all(self, prompts: Sequence[Prompt]) -> Iterator[EncodedPrompt]:
        """Like `encode` for many prompts, tokenized in one go; an error is raised when its prompt's turn comes."""
        if self._template is None:
            for prompt, tokens in zip(prompts, self._tokens([p.text for p in prompts]), strict=True):
                yield self._encoded(prompt, tokens, prompt.text, 0, tokens.specials)
        else:
            for prompt in prompts:
                text, shift = self._template.render(prompt.text)
                yield self._encoded(prompt, self._tokens([text])[0], text, shift, self._chat_prefix)

    def check_length(self, encoded: EncodedPrompt, n_response: int) -> None:
        """Raise ContextLengthError if the prompt and `n_response` more tokens do not fit."""
        total = len(encoded) + n_response
        if self.context_length is not None and total > self.context_length:
            raise ContextLengthError(
                f"a prompt with its response has {total} tokens, but the model's context is {self.context_length}",
                got=f"{len(encoded)} prompt tokens and {n_response} response tokens in {encoded.text!r}",
                remedy="shorten the prompt or the response",
            )

    def label_ids(self, encoded: EncodedPrompt, label: str) -> tuple[int, ...]:
        """Tokens(prompt + label) minus tokens(prompt).

        Raises:
            LabelError: if the label is empty, or its first token merges with the prompt's last.
        """
        return next(self.label_ids_all([encoded], [label]))

    def label_ids_all(self, encoded: Sequence[EncodedPrompt], labels: Sequence[str]) -> Iterator[tuple[int, ...]]:
        """Like `label_ids` for many (prompt, label), tokenized in one go; errors are raised at their turn."""
        texts = [e.text + label for e, label in zip(encoded, labels, strict=True)]
        distinct = list(dict.fromkeys(texts))
        tokens = dict(zip(distinct, self._tokens(distinct), strict=True))
        for prompt, label, text in zip(encoded, labels, texts, strict=True):
            yield self._after(prompt, label, tokens[text].ids)

    def only(self, ids: tuple[int, ...], encoded: EncodedPrompt, label: str) -> int:
        """The only one of `ids`, the tokens of `label`; LabelError naming them if there are several."""
        if len(ids) != 1:
            raise LabelError(
                f"label {label!r} must be a single token",
                got=f"{self._names(ids)} after {encoded.text!r}",
                remedy=self._spaced(encoded, label)
                or "choose another label, or drop the label set and train on the whole label",
            )
        return ids[0]

    def response_ids(self, text: str) -> tuple[int, ...]:
        """Tokens of a response by itself: no special tokens, no dummy space in front, not merged with a prompt."""
        anchor, joint = (tuple(self.tokenizer(t, add_special_tokens=False).input_ids) for t in ("\n", "\n" + text))
        if joint[: len(anchor)] == anchor:
            ids = joint[len(anchor) :]
        else:
            ids = tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
        if not ids:
            raise LabelError("a response has no tokens", got=text, remedy="give a response that is not empty")
        return ids

    @cached_property
    def _chat_prefix(self) -> int:
        assert self._template is not None
        probes = [t.ids for t in self._tokens([self._template.render(p)[0] for p in PROBES])]
        return len(list(takewhile(lambda column: len(set(column)) == 1, zip(*probes, strict=False))))

    def _encoded(self, prompt: Prompt, tokens: Tokens, text: str, shift: int, prefix: int) -> EncodedPrompt:
        moved = {name: tuple((s + shift, e + shift) for s, e in found) for name, found in prompt.spans.items()}
        spans = {name: span_tokens(name, found, tokens.offsets, text) for name, found in moved.items()}
        encoded = EncodedPrompt(tokens.ids, tokens.offsets, prefix, text, spans)
        self.check_length(encoded, 0)
        return encoded

    def _tokens(self, texts: Sequence[str]) -> list[Tokens]:
        return tokenize(self.tokenizer, texts, special=self._template is None)

    def _after(self, prompt: EncodedPrompt, label: str, joint: tuple[int, ...]) -> tuple[int, ...]:
        n = len(prompt)
        if label == "" or joint == prompt.ids:
            raise LabelError("a label has no tokens", got=f"{label!r} after {prompt.text!r}", remedy="give a label")
        if joint[:n] != prompt.ids:
            raise LabelError(
                f"label {label!r} merges with the end of its prompt, so it has no tokens of its own",
                got=f"{prompt.text!r} ends in {self._names(prompt.ids[-3:])}, with the label in "
                f"{self._names(joint[max(0, n - 3) :])}",
                remedy="move the space from the prompt's end to the label's start, or choose another label",
            )
        return joint[n:]

    def _spaced(self, encoded: EncodedPrompt, label: str) -> str | None:
        """The remedy where a label is a single token with a space before it."""
        spaced = f" {label}"
        joint = self._tokens([encoded.text + spaced])[0].ids
        if label[:1].isspace() or len(joint) != len(encoded) + 1 or joint[:-1] != encoded.ids:
            return None
        return f"write {spaced!r}: a label starts with its own space"

    def _names(self, ids: tuple[int, ...]) -> str:
        return repr(self.tokenizer.convert_ids_to_tokens(list(ids)))
