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

from torch import nn

from das.artifacts.subspace import Subspace
from das.data.tokenize import Tokenizer
from das.steering.compare import DIRECTIONS, Comparison, compare_steering
from das.tasks.base import ConceptTask


def evaluate_steering(
    model: nn.Module,
    subspace: Subspace,
    task: ConceptTask,
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


def _share(part: float | int, whole: float | int) -> float:
    return part / whole if whole else math.nan


def _perplexity_ratio(rows: Sequence[Comparison]) -> float:
    """exp of the difference of token-weighted means; NaN where there is nothing to compare."""
    means = [_share(sum(c.nll[side] for c in rows), sum(c.tokens[side] for c in rows)) for side in (0, 1)]
    return math.exp(min(means[1] - means[0], 700.0))
