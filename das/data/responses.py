"""Responses written by the unmodified model, kept as token ids so that nothing is ever tokenized twice.

Greedy, by a plain loop rather than `generate`, whose defaults (repetition penalty, suppressed tokens, ...) come from
the model's files. Rows are left-padded with real position ids; equal to decoding each prompt alone up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from das.batch import TokenBatch
from das.data.collate import pad
from das.data.encode import Encoder
from das.data.examples import Example
from das.data.tokenize import EncodedPrompt
from das.errors import LabelError
from das.types import Contrast


@dataclass(frozen=True)
class WrittenContrast:
    """A contrast whose responses exist, with the exact token ids of each."""

    contrast: Contrast
    negative_ids: tuple[int, ...]
    positive_ids: tuple[int, ...]

    def examples(self) -> tuple[Example, Example]:
        """Elicit (negative base, labelled with the positive response), then suppress."""
        elicit, suppress = self.contrast.pairs()
        return Example(elicit, self.positive_ids), Example(suppress, self.negative_ids)

    def preferences(self, interchange: bool) -> tuple[Example, ...]:
        """Winner and loser of direction +1 (the concept's response wins), then of direction -1.

        Args:
            interchange: direction -1 starts from the concept's prompt with the neutral one as its source, as an
                interchange needs it; otherwise both start from the neutral prompt.
        """
        elicit, suppress = self.contrast.pairs()
        neutral, concept = elicit.base_label, elicit.counterfactual_label
        there, back = {"direction": 1.0}, {"direction": -1.0}
        start = suppress if interchange else elicit
        return (
            Example(elicit, self.positive_ids, there),
            Example(replace(elicit, counterfactual_label=neutral), self.negative_ids, there),
            Example(replace(start, counterfactual_label=neutral), self.negative_ids, back),
            Example(replace(start, counterfactual_label=concept), self.positive_ids, back),
        )


def from_texts(contrast: Contrast, encoder: Encoder) -> WrittenContrast:
    """A contrast whose responses are given as text, each tokenized by itself; LabelError where one is missing."""
    if contrast.negative_response is None or contrast.positive_response is None:
        raise LabelError(
            "a contrast has no responses yet",
            got=f"{contrast.negative.text!r} and {contrast.positive.text!r}",
            remedy="let the model write them: das.data.responses.write_responses",
        )
    ids = (encoder.response_ids(r) for r in (contrast.negative_response, contrast.positive_response))
    return WrittenContrast(contrast, *ids)


def write_responses(
    model: nn.Module, encoder: Encoder, contrasts: Sequence[Contrast], max_new_tokens: int, batch_size: int = 16
) -> list[WrittenContrast]:
    """Let the model answer both prompts of every contrast; responses that are already there are kept.

    Args:
        model: a causal language model in eval mode.
        encoder: its tokenizer.
        contrasts: prompts, with responses or without.
        max_new_tokens: longest response; the end-of-sequence token is not part of it.
        batch_size: prompts decoded at a time; each distinct prompt is decoded once.

    Raises:
        LabelError: if the model's response is empty.
        ContextLengthError: if a prompt with `max_new_tokens` does not fit.
    """
    assert max_new_tokens > 0 and batch_size > 0
    sides = [(c.negative, c.negative_response) for c in contrasts]
    sides += [(c.positive, c.positive_response) for c in contrasts]
    prompts = {prompt.text: prompt for prompt, response in sides if response is None}
    encoded = dict(zip(prompts, encoder.encode_all(list(prompts.values())), strict=True))
    by_length = sorted(encoded, key=lambda text: len(encoded[text]))
    written: dict[str, tuple[int, ...]] = {}
    for start in range(0, len(by_length), batch_size):
        texts = by_length[start : start + batch_size]
        chunk = [encoded[text] for text in texts]
        written |= zip(texts, _greedy(model, encoder, chunk, max_new_tokens), strict=True)
    ids = [written[p.text] if r is None else encoder.response_ids(r) for p, r in sides]
    return [
        WrittenContrast(_filled(contrast, negative, positive, encoder), negative, positive)
        for contrast, negative, positive in zip(contrasts, ids[: len(contrasts)], ids[len(contrasts) :], strict=True)
    ]


def _filled(contrast: Contrast, negative: tuple[int, ...], positive: tuple[int, ...], encoder: Encoder) -> Contrast:
    texts = [encoder.tokenizer.decode(list(ids), skip_special_tokens=True) for ids in (negative, positive)]
    return replace(
        contrast,
        negative_response=texts[0] if contrast.negative_response is None else contrast.negative_response,
        positive_response=texts[1] if contrast.positive_response is None else contrast.positive_response,
    )


@torch.inference_mode()
def _greedy(
    model: nn.Module, encoder: Encoder, prompts: Sequence[EncodedPrompt], max_new_tokens: int
) -> list[tuple[int, ...]]:
    for prompt in prompts:
        encoder.check_length(prompt, max_new_tokens - 1)
    device = next(model.parameters()).device
    ids, mask = pad([list(p.ids) for p in prompts], encoder.pad_id, "left")
    batch = TokenBatch(ids.to(device), mask.to(device))
    stops = _stops(model, encoder).to(device)
    state, attention, positions, cache = batch.ids, batch.mask, batch.position_ids, None
    columns: list[Tensor] = []
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for _ in range(max_new_tokens):
        out = model(
            input_ids=state,
            attention_mask=attention.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        token = out.logits[:, -1].argmax(-1)
        ended = ended | torch.isin(token, stops)
        columns.append(torch.where(ended, -1, token))
        if bool(ended.all()):
            break
        state, cache, positions = token[:, None], out.past_key_values, positions[:, -1:] + 1
        attention = torch.cat([attention, torch.ones_like(attention[:, :1])], dim=1)
    rows = torch.stack(columns, dim=1).tolist()
    return [_nonempty(tuple(t for t in row if t >= 0), p) for row, p in zip(rows, prompts, strict=True)]


def _stops(model: nn.Module, encoder: Encoder) -> Tensor:
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = configured if isinstance(configured, list) else [configured]
    return torch.tensor([int(i) for i in (*found, encoder.tokenizer.eos_token_id) if i is not None], dtype=torch.long)


def _nonempty(ids: tuple[int, ...], prompt: EncodedPrompt) -> tuple[int, ...]:
    if not ids:
        raise LabelError(
            "the model's response is empty: it ends at once",
            got=prompt.text,
            remedy="end the prompt earlier, use the chat template (chat=True), or leave this contrast out",
        )
    return ids
