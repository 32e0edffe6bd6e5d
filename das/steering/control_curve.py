"""Preference and utility log-odds of a steering factor, and the curve they follow (arXiv 2602.02343).

Of a question q with a preferred answer A_p and a rejected one A_n, L = -log P(A | q):

    PrefOdds   log P(A_p) / P(A_n)                                      = L_n - L_p
    UtilOdds   log (P(A_p) + P(A_n)) / (1 - P(A_p) - P(A_n))            either of the two against everything else

They need no judge, and tell steering that prefers from steering that breaks: the first rises with the factor while the
second falls. In the paper's code L is a mean over tokens (`per_token`), so that lengths do not matter; e^-L are no
probabilities then, and where they sum to 1 or more the utility log-odds do not exist (NaN, left out of the mean).

`das.steering.validity` fits the paper's curve to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from das.artifacts.subspace import Subspace
from das.data.encode import Encoder
from das.data.spans import AnyPrompt, as_prompt
from das.data.tokenize import EncodedPrompt, Tokenizer
from das.errors import EmptySplitError
from das.steering.compare import continuation_nll
from das.steering.generate import encoder_for
from das.steering.steer import steer

PerPair = Float[Tensor, " pair"]


@dataclass(frozen=True)
class Polar:
    """A question, the answer that steering should prefer, and the one that it should reject."""

    question: AnyPrompt
    preferred: str
    rejected: str


@dataclass(frozen=True)
class Point:
    """Means over pairs at one factor; 0 is the model as it is.

    Attributes:
        factor: signed.
        preference, utility: log-odds, in nats.
        undefined: pairs without utility log-odds.
    """

    factor: float
    preference: float
    utility: float
    undefined: int


def preference_log_odds(preferred: PerPair, rejected: PerPair) -> PerPair:
    """L_n - L_p of losses (nats) of the preferred and of the rejected answers."""
    return rejected - preferred


def utility_log_odds(preferred: PerPair, rejected: PerPair) -> PerPair:
    """log (e^-L_p + e^-L_n) - log (1 - e^-L_p - e^-L_n); NaN where the sum is 1 or more."""
    both = torch.logaddexp(-preferred.double(), -rejected.double())
    return torch.where(both < 0, both - torch.log(-torch.expm1(both)), torch.nan)


def control_curve(
    model: nn.Module,
    subspace: Subspace,
    pairs: Sequence[Polar],
    factors: Sequence[float | int],
    *,
    per_token: bool = True,
    positions: str | None = None,
    tokenizer: Tokenizer | None = None,
    batch_size: int = 32,
) -> list[Point]:
    """Measure at every factor; factor 0 is measured without steering.

    Args:
        model: not steered.
        subspace: what to steer with.
        pairs: questions with both answers.
        factors: in the order of the result.
        per_token: losses are means over tokens, as in the paper's code; else sums, whose e^-L are probabilities.
        positions: where to steer, as trained by default.
        tokenizer: the model's own by default.
        batch_size: questions per forward.

    Raises:
        EmptySplitError: no pairs.
        DasError: what steering raises.
    """
    if not pairs:
        raise EmptySplitError("a control curve needs questions with two answers", got=0)
    encoder, found = encoder_for(model, tokenizer, subspace), []
    chunks = [pairs[i : i + batch_size] for i in range(0, len(pairs), batch_size)]
    for factor in map(float, factors):
        losses = torch.cat([_losses(model, subspace, encoder, c, factor, per_token, positions) for c in chunks], 1)
        utility = utility_log_odds(*losses)
        known = utility[~utility.isnan()]
        mean = float(known.mean()) if len(known) else float("nan")
        found.append(Point(factor, float(preference_log_odds(*losses).mean()), mean, len(utility) - len(known)))
    return found


@torch.no_grad()
def _losses(
    model: nn.Module,
    subspace: Subspace,
    encoder: Encoder,
    pairs: Sequence[Polar],
    factor: float,
    per_token: bool,
    positions: str | None,
) -> Float[Tensor, "2 pair"]:
    """L_p and L_n of every pair."""
    prompts = list(encoder.encode_all([as_prompt(pair.question) for pair in pairs]))
    answers = [[encoder.response_ids(getattr(p, side)) for p in pairs] for side in ("preferred", "rejected")]
    rows: list[EncodedPrompt] = [*prompts, *prompts]
    ids = [answer for side in answers for answer in side]

    def nll() -> Tensor:
        return continuation_nll(model, [p.ids for p in rows], ids, encoder.pad_id).double().cpu()

    if factor == 0:
        summed = nll()
    else:
        questions = [pair.question for pair in pairs] * 2
        with steer(model, subspace, factor, positions=positions, prompts=questions, tokenizer=encoder.tokenizer):
            summed = nll()
    lengths = torch.tensor([len(i) for i in ids]) if per_token else torch.ones(len(ids))
    return (summed / lengths).reshape(2, len(pairs))
