"""From a subspace and what the user asks for to one inference-time intervention per placement.

    clamp       z' = |f| a+ (f > 0), |f| a- (f < 0)        z' = value
    add         z' = z + f (a+ - a-)                        z' = z + value
    ablate      z' = 0
    as_trained  the method's own edit, given f

a+ and a- are the concept's mean coordinates kept in the artifact. The featurizer and the gate are the trained ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from das.artifacts.parts import Factors
from das.artifacts.subspace import Subspace
from das.edits.add import Add
from das.edits.base import Edit
from das.edits.clamp import Clamp
from das.edits.zero import Zero
from das.errors import CapabilityError, InputError
from das.interventions.base import Intervention

#: One number, or one per row.
Factor = float | int | Sequence[float | int] | Tensor


def parse_factor(factor: Factor) -> Float[Tensor, " given"]:
    """One factor, or one per row, as a vector.

    Raises:
        InputError: not numbers, no or several axes, 0, NaN or infinite.
    """
    try:
        values = torch.as_tensor(factor, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("a steering factor must be a number, or one number per row", got=repr(factor)) from error
    if values.dim() > 1 or not values.numel():
        raise InputError(
            "a steering factor must be a number, or one number per row",
            got=f"shape {tuple(values.shape)}",
            remedy="give a float, or a vector of one float per row",
        )
    values = values.reshape(-1)
    if not bool(torch.isfinite(values).all()) or bool((values == 0).any()):
        raise InputError(
            "a steering factor must be finite and not 0: it multiplies the positive mean, or (f < 0) the negative one",
            got=str(values.tolist() if len(values) > 1 else values.item()),
            remedy="leave the rows out that shall not be steered, set coordinates with value=..., or use op='ablate'",
        )
    return values


def choose_op(subspace: Subspace, op: str | None) -> str:
    """The operation: the first method's default, or what is asked for where every method can do it.

    Raises:
        CapabilityError: a method cannot do it.
    """
    chosen = op
    for intervention in subspace.interventions:
        can = intervention.capabilities.steering
        if not can or (chosen is not None and chosen not in can):
            raise CapabilityError(
                f"method {intervention.name!r} cannot be steered" + (f" with {chosen!r}" if can else ""),
                got=f"op={op!r}",
                remedy=f"it can do: {', '.join(can) or 'nothing'}",
            )
        chosen = chosen or can[0]
    assert chosen is not None
    return chosen


def steering_edits(subspace: Subspace, op: str, factor: Tensor, value: Any = None) -> tuple[list[Intervention], bool]:
    """Frozen interventions, one per placement, and whether they take the factor.

    Raises:
        CapabilityError: the artifact has no factors and no value is given; several factors for a method that takes
            one; an edit that needs a source or whole sequences.
        InputError: a factor and a value, a factor for "ablate", or a value of another rank.
    """
    default = bool((factor == 1).all()) and len(factor) == 1
    if (value is not None or op == "ablate") and not default:
        what = "value= replaces the factor" if value is not None else "an ablation has no factor"
        raise InputError(what, got=f"factor {factor.tolist()}", remedy="leave factor at 1")
    if value is not None and op not in ("clamp", "add"):
        raise InputError(f"op {op!r} takes no value", got=repr(value), remedy="use op='clamp' or op='add', or drop it")
    many = len(set(factor.tolist())) > 1
    found = []
    for intervention, factors in zip(subspace.interventions, subspace.factors, strict=True):
        if many and not intervention.capabilities.per_row_factor:
            raise CapabilityError(
                f"method {intervention.name!r} takes one factor per batch",
                got=str(factor.tolist()),
                remedy="steer the rows one after the other",
            )
        found.append(_steering(intervention, op, factors, value))
    return found, value is None and op != "ablate"


def _steering(trained: Intervention, op: str, factors: Factors | None, value: Any) -> Intervention:
    if op == "as_trained":
        if trained.edit.sources or trained.capabilities.positions == "sequence":
            raise CapabilityError(
                f"method {trained.name!r} cannot steer as trained: its edit needs a source or the whole sequence",
                got=f"sources {list(trained.edit.sources)}, positions {trained.capabilities.positions}",
                remedy="use op='clamp', 'add' or 'ablate'",
            )
        return deepcopy(trained).requires_grad_(False).eval()
    edit = Zero() if op == "ablate" else _valued(trained, op, factors, value)
    parts = deepcopy(trained.featurizer), edit, deepcopy(trained.gate)
    made = Intervention(*parts, name=trained.name, capabilities=trained.capabilities)
    return made.requires_grad_(False).eval()


def _valued(trained: Intervention, op: str, factors: Factors | None, value: Any) -> Edit:
    if value is not None:
        raw = _raw(value, trained.rank)
        return Clamp(trained.rank, raw) if op == "clamp" else Add(trained.rank, raw)
    if factors is None:
        raise CapabilityError(
            f"this subspace has no factors, so op {op!r} does not know where to steer to",
            got=f"method {trained.name!r} without mean coordinates",
            remedy="give coordinates with value=..., or train on a task whose concept has two values",
        )
    positive, negative = factors.positive.float().cpu(), factors.negative.float().cpu()
    return Clamp(trained.rank, positive, negative) if op == "clamp" else Add(trained.rank, positive - negative)


def _raw(value: Any, rank: int) -> Float[Tensor, " rank"]:
    raw = torch.as_tensor(value, dtype=torch.float32).detach().cpu()
    if raw.dim() == 0 and rank == 1:
        raw = raw.reshape(1)
    if raw.shape != (rank,) or not bool(torch.isfinite(raw).all()):
        raise InputError(
            "value must hold one finite number per coordinate of the subspace",
            got=f"{raw.tolist()} for rank {rank}",
            remedy=f"give a tensor of shape ({rank},)",
        )
    return raw
