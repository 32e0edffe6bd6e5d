"""Prompts with named spans from raw text, and encoded prompts from rows of token ids that came without text."""

from __future__ import annotations

from collections.abc import Sequence

from das.data.tokenize import EncodedPrompt, Offsets, Tokenizer, require_offsets, span_tokens, tokenize
from das.types import MARK, Prompt, SpanFinder

#: What decoding gives for a character of which some bytes are still missing.
_PARTIAL = "\ufffd"
#: A prompt as users give it: text that may hold [[marks]], or a `Prompt` with its own spans.
AnyPrompt = str | Prompt


def as_prompt(given: AnyPrompt, names: Sequence[str] = (), finder: SpanFinder | None = None) -> Prompt:
    """A prompt in which [[marks]] are the spans called `names`, else the finder's words are, else nothing is."""
    if isinstance(given, Prompt):
        return given
    marked = Prompt.from_marked(given)
    if marked.spans:
        return Prompt(marked.text, dict.fromkeys([*names] or [MARK], marked.spans[MARK]))
    mentions = finder.find(given) if finder is not None else ()
    return Prompt(given, {finder.span: mentions} if finder is not None and mentions else {})


def prompt_from_ids(
    tokenizer: Tokenizer, ids: Sequence[int], finder: SpanFinder | None = None, prefix: int | None = None
) -> EncodedPrompt:
    """The text, offsets and spans of one row of token ids without padding.

    Offsets come from encoding the decoded text again where that gives the same ids, else from decoding ever longer
    beginnings (quadratic in the length).

    Args:
        tokenizer: a fast tokenizer.
        ids: the row, special tokens included.
        finder: finds a span in the decoded text.
        prefix: number of protected leading tokens; by default the leading special tokens.

    Raises:
        TokenizerError: if the tokenizer gives no offsets.
    """
    require_offsets(tokenizer)
    special = set(tokenizer.all_special_ids)
    n = next((i for i, token in enumerate(ids) if token not in special), len(ids))
    body = [int(i) for i in ids[n:]]
    text = _decode(tokenizer, body)
    again = tokenize(tokenizer, [text], special=False)[0]
    offsets = again.offsets if list(again.ids) == body else _incremental(tokenizer, body, text)
    whole: Offsets = ((0, 0),) * n + offsets
    mentions = finder.find(text) if finder is not None else ()
    spans = {finder.span: span_tokens(finder.span, mentions, whole, text)} if finder is not None and mentions else {}
    return EncodedPrompt(tuple(int(i) for i in ids), whole, n if prefix is None else prefix, text, spans)


def _decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text


def _incremental(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> Offsets:
    """Each token covers what it adds to the decoded text; tokens that share a character all cover it."""
    decoded = [_decode(tokenizer, ids[: i + 1]) for i in range(len(ids))]
    ends = [min(len(t.rstrip(_PARTIAL)), len(text)) for t in decoded]
    offsets: list[tuple[int, int]] = []
    for i, end in enumerate(ends):
        start = ends[i - 1] if i else 0
        if decoded[i].endswith(_PARTIAL):
            end = next((later for later in ends[i:] if later > start), len(text))
        offsets.append((start, max(start, end)))
    return tuple(offsets)
