"""A tokenwise loss a few label tokens at a time: no tensor is larger than a chunk's logits.

Head, loss and the gradient with respect to the head's inputs are computed chunk by chunk in the forward pass; the
backward pass only scales that gradient. Exact, and as many tokens go through the head as without chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from das.batch import PairBatch
from das.errors import CapabilityError
from das.objectives.base import Loss, Objective
from das.outputs import Headless, Outputs
from das.shapes import Activation

#: Logits (rows x tokens x vocabulary) of one chunk, or as many as the head has inputs if these are more: smaller chunks
#: would save nothing, and cost the reading of the head's weights once more. Losses make several tensors of that size.
CHUNK = 1 << 19


def chunked(objective: Objective, outputs: Headless, batch: PairBatch, columns: int) -> Loss:
    """What `objective` says of all label tokens, computed for `columns` of each row at a time.

    Args:
        objective: one whose `needs` say that it is tokenwise.
        outputs: a run that stopped before the head.
        batch: as for the objective.
        columns: label tokens per chunk.

    Raises:
        CapabilityError: the objective does not look at each label token alone.
    """
    if not objective.needs.tokenwise:
        raise CapabilityError(
            "this objective looks at several label tokens at once", got=type(objective).__name__,
            remedy="give it all of them, or say that it is tokenwise",
        )  # fmt: skip
    sums: dict[str, Tensor] = {}
    counts: list[int] = []

    def share(hidden: Tensor, start: int) -> Tensor:
        """A chunk's part of the sum."""
        at = slice(start, start + columns)
        some = replace(
            batch, label_positions=batch.label_positions[:, at], label_ids=batch.label_ids[:, at],
            label_mask=batch.label_mask[:, at],
            target_positions=None if batch.target_positions is None else batch.target_positions[:, at],
        )  # fmt: skip
        with torch.no_grad():
            runs = {name: outputs.head(h[:, at].contiguous()) for name, h in outputs.runs.items()}
        loss = objective(Outputs(outputs.head(hidden), runs, outputs.aux, outputs.watched), some)
        counts.append(loss.count)
        _add(sums, loss.parts, loss.count)
        return loss.total * loss.count

    total = _Chunks.apply(outputs.hidden, share, columns, counts)
    count = sum(counts)
    return Loss(total, count, {name: value / max(count, 1) for name, value in sums.items()})


@final
class _Chunks(torch.autograd.Function):
    """Mean over what the chunks of the label axis count, and its gradient in the same pass.

    What is kept is the gradient of the sum: that of the mean may be too small for 16 bits.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Activation, share: Callable[[Tensor, int], Tensor], columns: int, counts: list[int]
    ) -> Float[Tensor, ""]:
        total, gradient = hidden.new_zeros((), dtype=torch.float32), torch.zeros_like(hidden)
        for start in range(0, hidden.shape[1], columns):
            with torch.enable_grad():
                # contiguous: a head takes the slow path of batched products for slices of three axes
                some = hidden[:, start : start + columns].detach().contiguous().requires_grad_()
                loss = share(some.view_as(some), start)  # FLOP counters hook inputs of modules, but not leaves
            if ctx.needs_input_grad[0]:
                [gradient[:, start : start + columns]] = torch.autograd.grad(loss, some)
            total = total + loss.detach()
        ctx.save_for_backward(gradient)
        ctx.count = max(sum(counts), 1)
        return total / ctx.count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        [gradient] = ctx.saved_tensors
        scaled = gradient * (upstream / ctx.count).to(torch.promote_types(gradient.dtype, torch.float32))
        return scaled.to(gradient.dtype), None, None, None


def _add(parts: dict[str, Tensor], more: Mapping[str, Tensor], weight: int) -> None:
    for name, value in more.items():
        parts[name] = parts.get(name, torch.zeros_like(value)) + weight * value
