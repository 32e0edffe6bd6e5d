"""Chat templates as text: where a message lies in the rendered prompt, and which leading tokens every prompt shares."""

from __future__ import annotations

from jinja2 import TemplateError

from das.data.tokenize import Tokenizer
from das.errors import PositionError, TokenizerError

#: Stands in for a message to find where the template puts it; no template contains or alters it.
_SENTINEL = "qzMessageqz"
#: Messages with different first characters: the tokens that all of them share in front belong to the template.
PROBES = ("Alpha", "7 of", "?", "z")


class ChatTemplate:
    """A tokenizer's chat template with one user message (and perhaps a system prompt) and the generation header.

    Args:
        tokenizer: must have a chat template.
        system: a system prompt, or None for no system message.

    Raises:
        TokenizerError: if there is no template, it refuses these messages, or it shows the message not exactly once.
    """

    def __init__(self, tokenizer: Tokenizer, system: str | None = None) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise TokenizerError(
                "this tokenizer has no chat template",
                got=tokenizer.name_or_path or type(tokenizer).__name__,
                remedy="use chat=False, or set tokenizer.chat_template",
            )
        self._tokenizer = tokenizer
        self._system = system
        parts = self._apply(_SENTINEL).split(_SENTINEL)
        if len(parts) != 2:
            raise TokenizerError(
                "the chat template must contain the user's message exactly once",
                got=f"{len(parts) - 1} times",
                remedy="use chat=False and render the prompts yourself",
            )
        self._head, self._tail = parts

    def render(self, text: str) -> tuple[str, int]:
        """The rendered prompt, and the character at which `text` starts in it.

        Raises:
            PositionError: if the template altered the text (most strip it), so that spans would be off.
        """
        rendered = self._apply(text)
        if rendered != self._head + text + self._tail:
            raise PositionError(
                "the chat template altered the prompt's text, so character spans do not carry over",
                got=f"{text!r} rendered as {rendered!r}",
                remedy="strip the prompt's white space, or give the text as the template writes it",
            )
        return rendered, len(self._head)

    def _apply(self, text: str) -> str:
        messages = [{"role": "user", "content": text}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system})
        try:
            rendered = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise TokenizerError(
                "the chat template refuses these messages",
                got=f"{error} (system prompt {self._system!r})",
                remedy="some templates take no system prompt: leave it out",
            ) from error
        assert isinstance(rendered, str)
        return rendered
