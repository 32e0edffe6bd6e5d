"""How well scores tell rows with a concept from rows without it, and from rows that only have its words.

    auroc               over positives and negatives; invariant to any monotone change of the scores
    threshold           of the largest Youden J = true positive rate - false positive rate (arXiv 2501.17148)
    accuracy            balanced, at that threshold, on the rows that chose it: (1 + J) / 2
    hard_negatives      share of hard negatives that score below it; absent where there are none

Hard negatives are in no other number: AxBench's AUROC drops them in silence.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_roc

from das.errors import EmptySplitError, InputError


def max_over_tokens(scores: Float[Tensor, "row token"], real: Bool[Tensor, "row token"]) -> Float[Tensor, " row"]:
    """The largest score of each row's real tokens, as AxBench's code has it (its paper says the mean)."""
    return scores.masked_fill(~real, -torch.inf).amax(1)


def detection(
    positive: Float[Tensor, " positive"], negative: Float[Tensor, " negative"], hard: Float[Tensor, " hard"]
) -> dict[str, float]:
    """The numbers of the module's docstring.

    Args:
        positive, negative, hard: scores of the rows of each category; higher means that the concept is there.

    Raises:
        EmptySplitError: no positives or no negatives.
        InputError: a score that is not finite.
    """
    if not len(positive) or not len(negative):
        raise EmptySplitError(
            "detection needs positives and negatives", got=f"{len(positive)} and {len(negative)}", remedy="give both"
        )
    scores = torch.cat([positive, negative]).double()
    if not bool(torch.isfinite(scores).all()) or not bool(torch.isfinite(hard).all()):
        raise InputError("a score is not finite", remedy="score real tokens only")
    labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).long()
    low, span = scores.min(), (scores.max() - scores.min()).clamp(min=1e-12)
    unit = (scores - low) / span  # torchmetrics squashes scores outside of [0, 1], which makes ties
    false, true, thresholds = binary_roc(unit, labels)
    best = int((true[1:] - false[1:]).argmax()) + 1  # the first threshold accepts nothing
    found = {
        "auroc": float(binary_auroc(unit, labels)),
        "threshold": float(thresholds[best] * span + low),
        "accuracy": float((1 + true[best] - false[best]) / 2),
    }
    if len(hard):
        found["hard_negatives"] = float(((hard.double() - low) / span < thresholds[best]).double().mean())
    return found
