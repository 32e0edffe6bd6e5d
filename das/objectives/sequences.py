"""Log-probabilities of whole labels, and of the winners and losers of preference rows."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from das.batch import PairBatch
from das.distributions import label_log_probs as label_log_probs
from das.errors import CapabilityError
from das.shapes import Logits


@dataclass(frozen=True)
class Scored:
    """Labels' summed log-probabilities (nats) and lengths (tokens), (B/2,) each.

    Attributes:
        winner, loser: log p of the preferred and of the other response.
        winner_tokens, loser_tokens: their lengths.
    """

    winner: Float[Tensor, " pair"]
    loser: Float[Tensor, " pair"]
    winner_tokens: Float[Tensor, " pair"]
    loser_tokens: Float[Tensor, " pair"]

    @property
    def winner_mean(self) -> Float[Tensor, " pair"]:
        """Per token."""
        return self.winner / self.winner_tokens

    @property
    def loser_mean(self) -> Float[Tensor, " pair"]:
        """Per token."""
        return self.loser / self.loser_tokens


def scored(logits: Logits, batch: PairBatch, objective: str) -> Scored:
    """Winners and losers, which alternate in the batch.

    Raises:
        CapabilityError: the rows are no preferences.
    """
    if batch.group != 2 or len(batch) % 2 or "direction" not in batch.per_row:
        raise CapabilityError(
            f"objective {objective!r} compares a winning with a losing response, and these rows are no preferences",
            got=f"groups of {batch.group}", remedy="use objective.rows=preferences or contrast_preferences",
        )  # fmt: skip
    sums = label_log_probs(logits, batch)
    lengths = batch.label_mask.sum(1).to(sums)
    return Scored(sums[0::2], sums[1::2], lengths[0::2], lengths[1::2])
