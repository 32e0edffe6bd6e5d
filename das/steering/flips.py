"""Does steering change what a model writes, and at what price?

Prompts of the negative concept value are steered with +f, prompts of the positive one with -f. Counted in the
continuations: words of the task's `concept_words` (whole words, whatever the case).

    flipped           words of the target value / all concept words, steered
    unsteered         the same share in the unsteered continuations of the same prompts
    words             concept words found, steered (a share of few words means little)
    silent            steered continuations without any concept word
    perplexity_ratio  perplexity of the steered continuation under the unsteered model / that of the unsteered one

A share without any word is NaN, never 0. Perplexities are token-weighted over continuation tokens, given the prompt.
Controls are the caller's: pass a random or a shuffled-label subspace through the same function.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from das.artifacts.subspace import Subspace
from das.data.collate import pad
from das.data.encode import Encoder
from das.data.tokenize import Tokenizer
from das.errors import EmptySplitError, InputError
from das.steering.generate import device_of, encoder_for, generate_ids, texts_of
from das.steering.steer import steer
from das.tasks.base import Task
from das.types import Prompt

#: Direction -> what it steers away from.
DIRECTIONS = {"positive": "negative", "negative": "positive"}


@dataclass(frozen=True)
class Comparison:
    """One prompt with its unsteered and its steered continuation.

    Attributes:
        prompt: its text.
        target: the concept value steered towards, "positive" or "negative".
        factor: the signed factor.
        unsteered, steered: continuations.
        nll: summed negative log likelihood under the unsteered model, (unsteered, steered).
        tokens: how many tokens that is over, (unsteered, steered).
    """

    prompt: str
    target: str
    factor: float
    unsteered: str
    steered: str
    nll: tuple[float, float]
    tokens: tuple[int, int]


def evaluate_steering(
    model: nn.Module,
    subspace: Subspace,
    task: Task,
    *,
    split: str = "test",
    n: int = 40,
    factor: float | int = 1.0,
    max_new_tokens: int = 30,
    tokenizer: Tokenizer | None = None,
    seed: int = 0,
    batch_size: int = 32,
    positions: str | None = None,
) -> dict[str, float]:
    """`steering_metrics` of `compare_steering`, whose arguments these are."""
    compared = compare_steering(
        model, subspace, task, split=split, n=n, factor=factor, max_new_tokens=max_new_tokens, tokenizer=tokenizer,
        seed=seed, batch_size=batch_size, positions=positions,
    )  # fmt: skip
    return steering_metrics(compared, task.concept_words)


def compare_steering(
    model: nn.Module,
    subspace: Subspace,
    task: Task,
    *,
    split: str = "test",
    n: int = 40,
    factor: float | int = 1.0,
    max_new_tokens: int = 30,
    tokenizer: Tokenizer | None = None,
    seed: int = 0,
    batch_size: int = 32,
    positions: str | None = None,
) -> list[Comparison]:
    """Continue a task's prompts with and without steering towards the other concept value, greedily.

    Args:
        model: an unsteered model (or one whose other steerings belong to the comparison).
        subspace: what to steer with; needs factors.
        task: gives prompts and labels.
        split, n, seed: which prompts; `n` of both values together.
        factor: size of the factor, > 0; its sign follows from the direction.
        max_new_tokens: length of the continuations.
        tokenizer: the model's own by default.
        batch_size: prompts at a time.
        positions: where to steer, as trained by default.

    Raises:
        InputError: a factor that is not positive.
        EmptySplitError: no prompts of either value.
    """
    if not factor > 0:
        raise InputError(
            "the size of the factor must be positive", got=factor, remedy="signs follow from the direction"
        )
    encoder = encoder_for(model, tokenizer, subspace)
    labels = {task.positive: "positive", task.negative: "negative"}
    drawn = [(p, labels[label]) for p, label in task.prompts(split, n, seed) if label in labels]
    if not drawn:
        raise EmptySplitError(f"no {split} prompt of either concept value", got=f"{n} prompts asked for")
    found = []
    for target, value in DIRECTIONS.items():
        signed = factor if target == "positive" else -factor
        chosen = [p for p, v in drawn if v == value]
        for start in range(0, len(chosen), batch_size):
            batch = chosen[start : start + batch_size]
            plain = generate_ids(model, encoder, batch, max_new_tokens)
            with steer(model, subspace, signed, positions=positions, tokenizer=encoder.tokenizer) as steering:
                steered = steering.generate_ids(batch, max_new_tokens)
            found += _compared(model, encoder, batch, target, signed, (plain, steered))
    return found


def steering_metrics(compared: Sequence[Comparison], words: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Numbers by name: "steer/to_VALUE/NAME" for both directions, and the larger "steer/perplexity_ratio".

    Args:
        compared: from `compare_steering`.
        words: "positive" and "negative" -> the words that show each value.
    """
    found: dict[str, float] = {}
    for target, other in DIRECTIONS.items():
        rows = [c for c in compared if c.target == target]
        if not rows:
            continue
        ours, theirs = ([count_words(c.steered, words[v]) for c in rows] for v in (target, other))
        before, against = (sum(count_words(c.unsteered, words[v]) for c in rows) for v in (target, other))
        numbers = {
            "flipped": _share(sum(ours), sum(ours) + sum(theirs)),
            "unsteered": _share(before, before + against),
            "words": float(sum(ours) + sum(theirs)),
            "unsteered_words": float(before + against),
            "silent": float(sum(a + b == 0 for a, b in zip(ours, theirs, strict=True))),
            "prompts": float(len(rows)),
            "perplexity_ratio": _perplexity_ratio(rows),
        }
        found |= {f"steer/to_{target}/{name}": number for name, number in numbers.items()}
    ratios = [v for k, v in found.items() if k.endswith("/perplexity_ratio")]
    return found | {"steer/perplexity_ratio": max(ratios, default=math.nan)}


def count_words(text: str, words: Sequence[str]) -> int:
    """How often any of the words occurs as a whole word, whatever the case."""
    if not words:
        return 0
    pattern = r"(?<!\w)(?:" + "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True)) + r")(?!\w)"
    return len(re.findall(pattern, text, re.IGNORECASE))


def _compared(
    model: nn.Module,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    target: str,
    factor: float | int,
    ids: tuple[list[tuple[int, ...]], list[tuple[int, ...]]],
) -> list[Comparison]:
    heads = [e.ids for e in encoder.encode_all(list(prompts))]
    nll = [continuation_nll(model, heads, rows, encoder.pad_id).tolist() for rows in ids]
    texts = [texts_of(encoder.tokenizer, rows) for rows in ids]
    return [
        Comparison(
            prompt.text, target, float(factor), texts[0][i], texts[1][i], (nll[0][i], nll[1][i]),
            (len(ids[0][i]), len(ids[1][i])),
        )
        for i, prompt in enumerate(prompts)
    ]  # fmt: skip


@torch.no_grad()
def continuation_nll(
    model: nn.Module, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], pad_id: int
) -> Tensor:
    """Negative log likelihood (B,) of token ids given prompts, summed over continuation tokens, in fp32."""
    ids, mask = pad([[*p, *c] for p, c in zip(prompts, continuations, strict=True)], pad_id, "right")
    own = torch.arange(ids.shape[1]) >= torch.tensor([len(p) for p in prompts])[:, None]
    device = device_of(model)
    ids, mask, own = ids.to(device), mask.to(device), (own & mask).to(device)
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask.long(), position_ids=positions, use_cache=False).logits
    each = nn.functional.cross_entropy(logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none")
    return (each * own[:, 1:]).sum(1)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _perplexity_ratio(rows: Sequence[Comparison]) -> float:
    """exp of the difference of token-weighted means; NaN where there is nothing to compare."""
    means = [_share(sum(c.nll[side] for c in rows), sum(c.tokens[side] for c in rows)) for side in (0, 1)]
    return math.exp(min(means[1] - means[0], 700.0))
