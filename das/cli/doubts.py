"""What the numbers of a run rest on, and why they may say little."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: So much above the full-vector swap is more than an exchange.
_BEYOND = 0.1
#: Fewer test pairs are said to be few.
_FEW = 20
#: Below this share of pairs that the model answers rightly, swapping a concept says little.
_KNOWS = 0.7


def counted(metrics: Mapping[str, Any]) -> list[str]:
    """How many pairs the numbers are means over, and how many rows were left out."""
    lines = []
    if (pairs := metrics.get("data/test_pairs")) is not None:
        few = f"; with fewer than {_FEW}, one pair more or less moves every number" if pairs < _FEW else ""
        lines.append(f"measured on {pairs} test pairs{few}")
    dropped = {k.removeprefix("data/dropped/"): n for k, n in metrics.items() if k.startswith("data/dropped/") and n}
    if dropped:
        lines.append(f"rows left out: {', '.join(f'{n} of {name}' for name, n in dropped.items())}")
    return lines


def doubts(metrics: Mapping[str, Any], shares: Mapping[str, float]) -> list[str]:
    """Why the shares may say little."""
    lines = []
    if (right := metrics.get("model/accuracy", 1.0)) < _KNOWS:
        lines.append(
            f"the model answers only {percent(right)} of the pairs rightly by itself, so a flip need not be the "
            "concept's doing; data.filter_correct=true keeps those that it answers"
        )
    if "this subspace" in shares and shares.get("nothing at all", -1.0) >= shares["this subspace"]:
        lines.append("the model without any intervention flips as many: nothing is shown here")
    whole, own = (metrics.get(f"{prefix}iia_full_vocab_changed") for prefix in ("control/full_vector/", ""))
    if whole is not None and own is not None and own > whole + _BEYOND:
        lines.append(
            f"over the whole vocabulary this subspace ({percent(own)}) goes beyond the full-vector swap "
            f"({percent(whole)}): it has learned to push the label words up, not only to exchange what is there"
        )
    return lines


def percent(share: float) -> str:
    """A share; a dash where there was nothing to count."""
    return "-" if math.isnan(share) else f"{share:.0%}"
