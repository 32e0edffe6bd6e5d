"""Interchange intervention training: a model is trained to keep variables where we say (arXiv 2112.00826).

Every step adds to the task's cross-entropy that of an interchange at one block's output at the last token, with other
rows of the batch as sources: one variable's subspace, all of them, or everything but them, in turn. What the model must
answer then is the causal model's answer, so each subspace comes to carry its variable, and the rest of that activation
nothing that matters.

Equation   CE(answer(v_b)) + CE(answer(v_b with v_i from s_i)),  h' = h + sum_i P_i (s_i - h);  rest: h' = s + P (h - s)
Shapes     bases (width, rank_i), mutually orthogonal
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from das.models.recipes.base import Report
from das.models.small import trained
from das.shapes import Basis, Ids

#: Token ids (B, tokens) and each variable's values (B,) of a fresh batch.
Draw = Callable[[], tuple[Ids, Mapping[str, Tensor]]]
#: Answer tokens (B,) given every variable's values.
Answer = Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Schedule:
    """AdamW, warmed up and decayed as `das.models.small.trained` does it."""

    steps: int
    lr: float
    warmup: int = 30
    weight_decay: float = 0.1


def plant(
    model: LlamaForCausalLM,
    layer: int,
    bases: Mapping[str, Basis],
    draw: Draw,
    answer: Answer,
    schedule: Schedule,
    report: Report,
) -> LlamaForCausalLM:
    """Train `model` in place so that the output of block `layer` at the last token carries every variable in its basis.

    Prompts must be equally long. The block's hook doubles the batch: first the rows as they are, then interchanged.
    """
    turns = cycle([*((name,) for name in bases), tuple(bases), None])
    optimizer = torch.optim.AdamW(
        model.train().parameters(), lr=schedule.lr, betas=(0.9, 0.99), weight_decay=schedule.weight_decay
    )

    def loss() -> Tensor:
        ids, values = draw()
        chosen = next(turns)
        mixed = {v: x.roll(_shift(bases, v)) if chosen and v in chosen else x for v, x in values.items()}
        hook = model.model.layers[layer].register_forward_hook(_doubling(bases, chosen))
        try:
            last = model.model(ids, use_cache=False).last_hidden_state[:, -1]
        finally:
            hook.remove()
        return F.cross_entropy(model.lm_head(last), torch.cat([answer(values), answer(mixed)]))

    return trained(model, optimizer, loss, schedule.steps, report, schedule.warmup)


def _shift(bases: Mapping[str, Basis], variable: str) -> int:
    """Row i takes a variable from row i - shift: another row for every variable."""
    return 1 + list(bases).index(variable)


def _doubling(bases: Mapping[str, Basis], chosen: Sequence[str] | None) -> Callable[..., Tensor]:
    """A hook that appends the interchanged rows; None interchanges all but the bases."""

    def hook(module: Any, inputs: Any, hidden: Float[Tensor, "batch token width"]) -> Tensor:
        last = hidden[:, -1]
        if chosen is None:
            edited, kept = last.roll(1, 0), last - last.roll(1, 0)
            for basis in bases.values():
                edited = edited + kept @ basis @ basis.T
        else:
            edited = last
            for variable in chosen:
                basis = bases[variable]
                edited = edited + (last.roll(_shift(bases, variable), 0) - last) @ basis @ basis.T
        return torch.cat([hidden, torch.cat([hidden[:, :-1], edited[:, None]], 1)])

    return hook
