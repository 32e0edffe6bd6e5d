"""Effects of a patch, normalised as in arXiv 2309.16042 (Zhang & Nanda, 2023).

Three runs end in distributions over the next token: `start`, which is run; `goal`, whose activation is put into it; and
`patched`, the start with that activation. Denoising starts from the corrupted run (*) and aims at the clean one (cl):

    P     p_patched(r) - p_start(r)
    LD    [LD_patched - LD_start] / [LD_goal - LD_start],   LD = logit(r) - logit(r')
    KL    KL(p_goal ‖ p_start) - KL(p_goal ‖ p_patched)

r is the clean prompt's answer and r' the corrupted one's, in both directions. Noising is the same with the two runs
exchanged, so LD stays 0 for no effect and 1 for all of it, and P becomes negative. Means over pairs; LD is a ratio of
means, so a pair whose runs hardly differ decides nothing. P cannot see components that work against the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from das.distributions import kl, log_probs
from das.errors import EmptySplitError

#: Logits of the next token.
Next = Float[Tensor, "batch vocab"]
Answer = Int[Tensor, " batch"]


@dataclass(frozen=True)
class Effect:
    """Means over pairs: P in probability, LD as a share, KL in nats."""

    p: float
    ld: float
    kl: float

    def __add__(self, other: Effect) -> Effect:
        return Effect(self.p + other.p, self.ld + other.ld, self.kl + other.kl)


@dataclass(frozen=True)
class Ends:
    """What is known of pairs before anything is patched; all in fp32 or better.

    Attributes:
        start, goal: logits (B, V) of the two runs.
        answer, other: r and r', token ids (B,).
    """

    start: Next
    goal: Next
    answer: Answer
    other: Answer

    def logit_differences(self, logits: Next) -> Float[Tensor, " batch"]:
        """logit(r) - logit(r'), (B,)."""
        r, other = (logits.double().gather(1, ids[:, None])[:, 0] for ids in (self.answer, self.other))
        return r - other

    def probabilities(self, logits: Next) -> Float[Tensor, " batch"]:
        """p(r), (B,)."""
        return log_probs(logits[:, None]).double().exp()[:, 0].gather(1, self.answer[:, None])[:, 0]

    def contributions(self, patched: Next) -> Float[Tensor, "batch 4"]:
        """Per pair: P, the numerator and the denominator of LD, KL."""
        goal, start, now = (log_probs(x[:, None]).double() for x in (self.goal, self.start, patched))
        at_start = self.logit_differences(self.start)
        columns = (
            self.probabilities(patched) - self.probabilities(self.start),
            self.logit_differences(patched) - at_start,
            self.logit_differences(self.goal) - at_start,
            (kl(goal, start) - kl(goal, now))[:, 0],
        )
        return torch.stack(columns, 1)


def mean_effect(contributions: Float[Tensor, "pair 4"], kept: Bool[Tensor, " pair"]) -> Effect:
    """Means over the pairs that are kept; LD is NaN where the two runs do not differ in it.

    Raises:
        EmptySplitError: no pair is kept.
    """
    if not bool(kept.any()):
        raise EmptySplitError(
            "no pair is left to patch: the model answers every clean or every corrupted prompt wrongly",
            got=f"{len(kept)} pairs", remedy="choose a model that can do the task, or filter_correct=False",
        )  # fmt: skip
    p, change, whole, divergence = contributions[kept].mean(0).tolist()
    return Effect(p, change / whole if whole else math.nan, divergence)
