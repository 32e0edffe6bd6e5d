"""Interventions with parts that look at a whole prompt, at work.

A conditioner sees the prompt's steered tokens once, in the forward that holds all of them; what it makes of each row is
kept for the rest of the same `generate`. A gate that weighs a prompt's tokens against each other has nothing to say of
tokens that come later one by one, so it only steers inside the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Bool
from torch import Tensor

from das.context import Context
from das.data.positions import PositionSpec
from das.errors import CapabilityError
from das.interventions.base import Intervention
from das.shapes import SourceActivation
from das.steering.calls import Call, expand_rows
from das.types import CONCEPT


@dataclass(frozen=True)
class Told:
    """Activations of one description, or of one per row.

    Attributes:
        activation: (1 or rows, C, width).
        mask: which of them are real, (1 or rows, C).
    """

    activation: SourceActivation
    mask: Bool[Tensor, "row position"]


def check_positions(intervention: Intervention, spec: PositionSpec) -> None:
    """Raise CapabilityError for a gate that looks at a whole prompt, at positions beyond it."""
    if intervention.gate.scope == "sequence" and spec.beyond_prompt:
        raise CapabilityError(
            f"method {intervention.name!r} chooses among the tokens of a prompt, and steers no others",
            got=f"positions {spec.text!r}", remedy="give positions='prompt'",
        )  # fmt: skip


@final
class Prompted:
    """One intervention and what it remembers of the prompts of one `generate`.

    Args:
        intervention: the inference-time edit.
        spec: where it steers.
        told: the concept's description, where its conditioner reads one.

    Raises:
        CapabilityError: as `check_positions`.
    """

    def __init__(self, intervention: Intervention, spec: PositionSpec, told: Told | None) -> None:
        check_positions(intervention, spec)
        self.intervention, self._bare, self._told = intervention, intervention.without_conditioner(), told
        self._rows: dict[str, Tensor] = {}

    def forget(self) -> None:
        """Another prompt begins."""
        self._rows = {}

    def edited(self, h: Tensor, ctx: Context, call: Call) -> Tensor:
        """The edited activation.

        Raises:
            CapabilityError: the prompt was not seen in one forward.
        """
        x = self.intervention
        if x.scope == "sequence" and not call.whole and (x.gate.scope == "sequence" or not self._rows):
            raise CapabilityError(
                f"method {x.name!r} looks at the whole prompt before it steers, and has not seen it in one forward",
                got="a forward that goes on with a text",
                remedy="use model.generate, and steer at 'all' or 'prompt' positions",
            )  # fmt: skip
        if x.conditioner is None:
            return x(h, None, ctx).activation
        if call.whole:
            sources = {} if self._told is None else {CONCEPT: self._told}
            repeated = {n: _expanded(t, h) for n, t in sources.items()}
            seen = replace(ctx, source_masks={n: t.mask for n, t in repeated.items()})
            self._rows, _ = x.rows(h, {n: t.activation for n, t in repeated.items()}, seen)
        rows = {n: expand_rows(t, h.shape[0], "prompts") for n, t in self._rows.items()}
        return self._bare(h, None, ctx.with_rows(rows)).activation


def _expanded(told: Told, h: Tensor) -> Told:
    activation = expand_rows(told.activation.to(h.device), h.shape[0], "concepts")
    return Told(activation, expand_rows(told.mask.to(h.device), h.shape[0], "concepts"))
