"""Spans in raw text, torch-free: mentions, and how to find them.

A *mention* is a half-open range `(start, end)` of characters; a named span is the ordered tuple of all its mentions,
because a name usually occurs more than once in a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

Mentions = tuple[tuple[int, int], ...]


@cache
def _whole_words(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(set(words), key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")


@dataclass(frozen=True)
class SpanFinder:
    """How to find a named span in raw text, as data that an artifact can store (never code).

    Attributes:
        span: the span's name.
        words: literal strings, matched as whole words, every mention.
    """

    span: str
    words: tuple[str, ...]

    def find(self, text: str) -> Mentions:
        """All mentions of any of the words in `text`, in order; empty where there is none."""
        if not self.words:
            return ()
        return tuple(m.span() for m in _whole_words(self.words).finditer(text))

    def to_json(self) -> dict[str, Any]:
        """Plain data for artifacts."""
        return {"span": self.span, "words": list(self.words)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SpanFinder:
        """Inverse of `to_json`."""
        return cls(str(data["span"]), tuple(map(str, data["words"])))
