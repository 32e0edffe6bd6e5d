"""From a subspace and what the user asks for to one inference-time intervention per placement.

    clamp       z' = |f| a+ (f > 0), |f| a- (f < 0)        z' = value
    add         z' = z + f (a+ - a-)                        z' = z + value
    ablate      z' = 0
    as_trained  the method's own edit, given f

and whatever else a method brings (`Intervention.steering`). a+ and a- are the concept's mean coordinates kept in the
artifact. The featurizer and the gate are the trained ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from das.artifacts.subspace import Subspace
from das.edits.base import Calibrated, Takes, Valued
from das.errors import CapabilityError, InputError
from das.factors import Factors
from das.interventions.base import AS_TRAINED, Intervention

#: Largest steering factor.
LARGEST = 1e6
#: One number, or one per row.
Factor = float | int | Sequence[float | int] | Tensor


@dataclass(frozen=True)
class Operation:
    """What a steering does.

    Attributes:
        name: "clamp", "add", ...
        interventions: frozen, one per placement.
        factor: one factor or one per row, or None where the edits take none.
    """

    name: str
    interventions: list[Intervention]
    factor: Float[Tensor, " given"] | None


def operation(subspace: Subspace, op: str | None, factor: Factor | None, value: Any = None) -> Operation:
    """Decide what to do.

    Args:
        subspace: what to steer with.
        op: what is asked for; where None the first method's default, or the first that takes a value if one is given.
        factor: None for 1, or for edits that take none.
        value: raw coordinates instead of a factor.

    Raises:
        CapabilityError: a method cannot do it or takes no factor, or the artifact has no factors and no value is given.
        InputError: a factor and a value, an unusable factor, a value of another rank.
    """
    name = _chosen(subspace, op, value is not None)
    made = [
        _steering(trained, name, factors, value)
        for trained, factors in zip(subspace.interventions, subspace.factors, strict=True)
    ]
    takes = {x.edit.factor for x in made}
    if value is not None or takes == {"none"}:
        if factor is not None and not _is_one(factor):
            told, remedy = f"factor {factor}", "leave factor out"
            if value is not None:
                raise InputError("value= replaces the factor", got=told, remedy=remedy)
            raise CapabilityError(f"operation {name!r} has no factor", got=told, remedy=remedy)
        return Operation(name, made, None)
    return Operation(name, made, parse_factor(1.0 if factor is None else factor, takes))


def parse_factor(factor: Factor, takes: set[Takes]) -> Float[Tensor, " given"]:
    """One factor, or one per row, as a vector.

    Raises:
        InputError: not numbers, several axes, NaN or infinite, or 0 where that means nothing.
    """
    try:
        values = _numbers(factor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("a steering factor must be a number, or one number per row", got=repr(factor)) from error
    if values.dim() > 1 or not values.numel():
        raise InputError(
            "a steering factor must be a number, or one number per row",
            got=f"shape {tuple(values.shape)}",
            remedy="give a float, or a vector of one float per row",
        )
    values = values.reshape(-1)
    told = str(values.tolist() if len(values) > 1 else values.item())
    if not bool((values.abs() <= LARGEST).all()):
        raise InputError(
            f"a steering factor must be finite, and at most {LARGEST:g}", got=told,
            remedy="it is a multiple of the concept's own coordinates; beyond that, norms overflow",
        )  # fmt: skip
    if "nonzero" in takes and bool((values == 0).any()):
        raise InputError(
            "a steering factor must not be 0: it multiplies the positive mean, or (f < 0) the negative one",
            got=told,
            remedy="leave the rows out that shall not be steered, set coordinates with value=..., or use op='ablate'",
        )
    return values


def _is_one(factor: Factor) -> bool:
    try:
        values = _numbers(factor)
    except (TypeError, ValueError, RuntimeError):
        return False
    return values.numel() == 1 and bool((values == 1).all())


def _chosen(subspace: Subspace, op: str | None, valued: bool) -> str:
    chosen = op
    for intervention in subspace.interventions:
        can = intervention.operations
        if valued and op is None:
            can = tuple(name for name in can if isinstance(intervention.steering.get(name), Valued))
        if not can or (chosen is not None and chosen not in can):
            raise CapabilityError(
                f"method {intervention.name!r} cannot be steered" + (f" with {chosen!r}" if can else ""),
                got=f"op={op!r}",
                remedy=f"it can do: {', '.join(can) or 'nothing'}",
            )
        chosen = chosen or can[0]
    assert chosen is not None
    return chosen


def _steering(trained: Intervention, op: str, factors: Factors | None, value: Any) -> Intervention:
    edit = trained.edit if op == AS_TRAINED else trained.steering[op]
    if value is not None:
        if not isinstance(edit, Valued) or op == AS_TRAINED:
            raise InputError(
                f"op {op!r} takes no value", got=repr(value), remedy="use op='clamp' or op='add', or drop it"
            )
        edit = edit.at(_raw(value, trained.rank))
    elif isinstance(edit, Calibrated) and op != AS_TRAINED:
        if factors is None:
            raise CapabilityError(
                f"this subspace has no factors, so op {op!r} does not know where to steer to",
                got=f"method {trained.name!r} without mean coordinates",
                remedy="give coordinates with value=..., or train on a task whose concept has two values",
            )
        edit = edit.calibrated(factors)
    if trained.dimension == 0:
        raise CapabilityError(
            f"method {trained.name!r} leaves no coordinate open, so steering with it would change nothing",
            got="an empty gate", remedy="train it again with a smaller intervention.weight, or a lower optimizer.lr",
        )  # fmt: skip
    made = trained.with_edit(edit)
    if "sequence" in (made.featurizer.scope, made.edit.scope):
        raise CapabilityError(
            f"method {trained.name!r} cannot be steered: its parts look at the whole sequence at once",
            got=f"op={op!r}", remedy="use it in plain forwards, with das.engine",
        )  # fmt: skip
    return deepcopy(made).requires_grad_(False).eval()


def _numbers(given: Any) -> Tensor:
    """As fp32 on the CPU; truth values are no numbers."""
    if torch.as_tensor(given).dtype == torch.bool:
        raise TypeError("truth values")
    return torch.as_tensor(given, dtype=torch.float32).detach().cpu()


def _raw(value: Any, rank: int) -> Float[Tensor, " rank"]:
    try:
        raw = _numbers(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("value must hold one number per coordinate of the subspace", got=repr(value)) from error
    if raw.dim() == 0 and rank == 1:
        raw = raw.reshape(1)
    if raw.shape != (rank,) or not bool(torch.isfinite(raw).all()):
        raise InputError(
            "value must hold one finite number per coordinate of the subspace",
            got=f"{raw.tolist()} for rank {rank}",
            remedy=f"give a tensor of shape ({rank},)",
        )
    return raw
