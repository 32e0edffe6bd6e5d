"""A task's prompts continued with and without steering, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from das.artifacts.subspace import Subspace
from das.data.collate import pad
from das.data.encode import Encoder
from das.data.tokenize import EncodedPrompt, Tokenizer
from das.errors import EmptySplitError, InputError
from das.steering.generate import complete, continuation_texts, device_of, encoder_for
from das.steering.steer import steer
from das.tasks.base import ConceptTask
from das.types import Prompt

#: Direction -> what it steers away from.
DIRECTIONS = {"positive": "negative", "negative": "positive"}


@dataclass(frozen=True)
class Comparison:
    """One prompt with its unsteered and its steered continuation.

    Attributes:
        prompt: its text, as the model sees it.
        target: the concept value steered towards, "positive" or "negative".
        factor: the signed factor.
        unsteered, steered: continuations.
        nll: summed negative log likelihood under the unsteered model, (unsteered, steered).
        tokens: how many tokens that is over, (unsteered, steered).
    """

    prompt: str
    target: str
    factor: float
    unsteered: str
    steered: str
    nll: tuple[float, float]
    tokens: tuple[int, int]


def compare_steering(
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
) -> list[Comparison]:
    """Continue a task's prompts with and without steering towards the other concept value, greedily.

    Args:
        model: an unsteered model (or one whose other steerings belong to the comparison).
        subspace: what to steer with; needs factors.
        task: gives prompts and labels.
        split, n, seed: which prompts; `n` of both values together.
        factor: size of the factor, > 0; its sign follows from the direction.
        max_new_tokens: length of the continuations.
        tokenizer: the model's own by default.
        batch_size: prompts at a time.
        positions: where to steer, as trained by default.

    Raises:
        InputError: a factor that is not positive.
        EmptySplitError: no prompts of either value.
    """
    if not factor > 0:
        raise InputError(
            "the size of the factor must be positive", got=factor, remedy="signs follow from the direction"
        )
    encoder = encoder_for(model, tokenizer, subspace)
    prompts = _by_value(task, split, n, seed)
    found = []
    for target, value in DIRECTIONS.items():
        signed = float(factor if target == "positive" else -factor)
        for start in range(0, len(prompts[value]), batch_size):
            batch = list(encoder.encode_all(prompts[value][start : start + batch_size]))
            plain = complete(model, encoder, batch, max_new_tokens)
            with steer(model, subspace, signed, positions=positions, tokenizer=encoder.tokenizer) as steering:
                steered = steering.complete(batch, max_new_tokens)
            found += _compared(model, encoder, batch, target, signed, (plain, steered))
    return found


def _by_value(task: ConceptTask, split: str, n: int, seed: int) -> dict[str, list[Prompt]]:
    drawn = task.prompts(split, n, seed)
    found = {v: [p for p, label in drawn if label == getattr(task, v)] for v in DIRECTIONS}
    if not any(found.values()):
        raise EmptySplitError(f"no {split} prompt of either concept value", got=f"{n} prompts asked for")
    return found


def _compared(
    model: nn.Module,
    encoder: Encoder,
    prompts: Sequence[EncodedPrompt],
    target: str,
    factor: float | int,
    ids: tuple[list[tuple[int, ...]], list[tuple[int, ...]]],
) -> list[Comparison]:
    nll = [continuation_nll(model, [p.ids for p in prompts], rows, encoder.pad_id).tolist() for rows in ids]
    texts = [continuation_texts(encoder.tokenizer, prompts, rows) for rows in ids]
    return [
        Comparison(
            prompt.text, target, float(factor), texts[0][i], texts[1][i], (nll[0][i], nll[1][i]),
            (len(ids[0][i]), len(ids[1][i])),
        )
        for i, prompt in enumerate(prompts)
    ]  # fmt: skip


@torch.no_grad()
def continuation_nll(
    model: nn.Module, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], pad_id: int
) -> Tensor:
    """Negative log likelihood (B,) of token ids given prompts, summed over continuation tokens, in fp32."""
    ids, mask = pad([[*p, *c] for p, c in zip(prompts, continuations, strict=True)], pad_id, "right")
    own = torch.arange(ids.shape[1]) >= torch.tensor([len(p) for p in prompts])[:, None]
    device = device_of(model)
    ids, mask, own = ids.to(device), mask.to(device), (own & mask).to(device)
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask.long(), position_ids=positions, use_cache=False).logits
    each = nn.functional.cross_entropy(logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none")
    return (each * own[:, 1:]).sum(1)
