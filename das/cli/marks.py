"""A prompt with its intervened tokens marked: highlighted on a terminal, in ⟦ ⟧ elsewhere."""

from __future__ import annotations

from collections.abc import Collection

from rich.text import Text

from das.data.tokenize import EncodedPrompt


def marked(encoded: EncodedPrompt, chosen: Collection[int], colour: bool) -> Text:
    """The prompt's text with the tokens at the given indices marked, each by itself; special tokens as ⟨⟩."""
    out, end = Text(), 0
    for i in sorted(chosen):
        start, stop = encoded.offsets[i]
        if start == stop:
            out.append("⟨special token⟩ ", style="reverse" if colour else "")
            continue
        inner = encoded.text[start:stop]
        lead = len(inner) - len(inner.lstrip()) if inner.strip() else 0
        start = max(start + lead, end)
        out.append(encoded.text[end:start])
        piece = encoded.text[start:stop]
        out.append(piece if colour else f"⟦{piece}⟧", style="bold reverse" if colour else "")
        end = max(end, stop)
    out.append(encoded.text[end:])
    return out
