"""Token ids with character offsets: the only file of `das.data` that knows the tokenizer library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase as Tokenizer

from das.errors import PositionError, TokenizerError
from das.types import Mentions

Offsets = tuple[tuple[int, int], ...]

#: How sentencepiece and byte-level vocabularies write a space.
SPACES = "▁Ġ"


@dataclass(frozen=True)
class EncodedPrompt:
    """A tokenized prompt.

    Attributes:
        ids: token ids, special tokens included, padding not.
        offsets: per token the half-open character range in `text`; empty ranges for special tokens.
        prefix: number of leading tokens that every prompt shares (BOS, chat header) and that "all" and "first" skip.
        text: the text that was tokenized, after the chat template.
        spans: span name -> one list of token indices per mention.
    """

    ids: tuple[int, ...]
    offsets: Offsets
    prefix: int
    text: str
    spans: Mapping[str, list[list[int]]]

    def __len__(self) -> int:
        return len(self.ids)


class Tokens(NamedTuple):
    """Ids and offsets of one text, and how many leading tokens the tokenizer added itself."""

    ids: tuple[int, ...]
    offsets: Offsets
    specials: int


def require_offsets(tokenizer: Tokenizer) -> None:
    """Raise TokenizerError if the tokenizer gives no character offsets."""
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(
            "spans need character offsets, which only fast tokenizers give",
            got=type(tokenizer).__name__,
            remedy="load the tokenizer with a tokenizer.json (use_fast=True)",
        )


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], *, special: bool) -> list[Tokens]:
    """Tokenize texts in one go.

    Args:
        tokenizer: a fast tokenizer.
        texts: what to tokenize.
        special: add the tokenizer's own leading special tokens; trailing ones (an EOS) are dropped in any case.
    """
    if not texts:
        return []
    batch = tokenizer(list(texts), add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    out = []
    for text, encoding in zip(texts, batch.encodings or [], strict=True):
        added = encoding.special_tokens_mask
        specials = _leading(added)
        end = max(specials, len(added) - _leading(reversed(added)))
        offsets = _real_offsets(encoding.tokens[:end], encoding.offsets[:end], text)
        out.append(Tokens(tuple(encoding.ids[:end]), offsets, specials))
    return out


def span_tokens(name: str, mentions: Mentions, offsets: Offsets, text: str) -> list[list[int]]:
    """Token indices of each mention: from the first to the last token that overlaps it without its outer white space.

    Raises:
        PositionError: if a mention has no token.
    """
    groups = []
    for start, end in mentions:
        inner = text[start:end].strip()
        low = text.index(inner, start) if inner else start
        high = low + len(inner) if inner else end
        found = [i for i, (s, e) in enumerate(offsets) if s < high and e > low and s < e]
        if not found:
            raise PositionError(
                f"a mention of span {name!r} has no token",
                got=f"characters {start}:{end}, {text[start:end]!r}, in {text!r}",
                remedy="the tokenizer drops these characters: mark others",
            )
        groups.append(list(range(found[0], found[-1] + 1)))
    return groups


def _leading(mask: Iterable[int]) -> int:
    return sum(1 for _ in takewhile(bool, mask))


def _real_offsets(tokens: Sequence[str], offsets: Sequence[tuple[int, int]], text: str) -> Offsets:
    """Offsets in which a dummy space, put by the tokenizer in front of a first letter, covers no character."""
    return tuple(
        (s, s) if not token.strip(SPACES) and text[s:e].strip() else (s, e)
        for token, (s, e) in zip(tokens, offsets, strict=True)
    )
