"""What an intervention does when it steers, as its default edit says it: for the card, the tables and the messages."""

from __future__ import annotations

from das.edits.base import Edit
from das.interventions.base import AS_TRAINED, Intervention

_FACTORS = {
    "none": "no factor",
    "nonzero": "factors but 0: above it to the positive value, below it to the negative one",
    "any": "any factor: it multiplies what is added, and below 0 leads to the negative value",
}
_ONE_WAY = "positive factors: it multiplies the change, and below 0 is not the way to the negative value"


def default_edit(x: Intervention) -> Edit | None:
    """What it steers with unless another operation is asked for; None where it cannot."""
    if not x.operations:
        return None
    return x.edit if x.operations[0] == AS_TRAINED else x.steering[x.operations[0]]


def steers_by(x: Intervention) -> dict[str, str] | None:
    """The default operation, the edit that carries it out, the factors it takes, and both in words; or None."""
    edit = default_edit(x)
    if edit is None:
        return None
    return {"operation": x.operations[0], "edit": type(edit).__name__, "factor": edit.factor, "told": told(x)}


def told(x: Intervention) -> str:
    """The same in words."""
    edit = default_edit(x)
    if edit is None:
        return "does not steer"
    return f"steers by {x.operations[0]}, takes {_ONE_WAY if edit.one_way else _FACTORS[edit.factor]}"
