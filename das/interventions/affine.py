"""An intervention as an affine map of the activation, low-rank; fp64.

Equation   h' = h + write (read^T h) + offset
           from  h' = h + lift(gate (edit(z) - z)),  z = coordinates(h),  read^T = d/dh of gate (edit(z) - z)
Raises     CapabilityError for parts that are not affine, or look at more than the activation
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from das.context import Context
from das.errors import CapabilityError
from das.featurizers.base import LinearFrame
from das.featurizers.identity import Identity
from das.interventions.base import Intervention
from das.part import Part

#: Largest entry by which two maps may differ and still count as equal, relative to the larger one; parts are fp32.
_EQUAL = 1e-5
#: Ranks up to which derivatives one by one are faster than all at once.
_FEW = 16


@dataclass(frozen=True)
class AffineMap:
    """One affine map of activations; fp64, on the CPU."""

    write: Float[Tensor, "width rank"]
    read: Float[Tensor, "width rank"]
    offset: Float[Tensor, " width"]

    @property
    def shift(self) -> Float[Tensor, " rank"]:
        """The offset as `write shift`, where it lies in what `write` spans."""
        return torch.linalg.lstsq(self.write, self.offset[:, None], driver="gelsd").solution[:, 0]

    @property
    def constant(self) -> bool:
        """Whether every activation is shifted alike."""
        return not bool(self.read.any())

    @property
    def shifts(self) -> bool:
        """Whether zero is moved, so that a bias is needed."""
        return bool(self.offset.any())

    @property
    def projects(self) -> bool:
        """Whether it is a projection on an affine subspace: M M = M and M o = 0."""
        again = self.write @ (self.read.T @ self.write) + self.write
        return _small(again @ self.read.T, self.write @ self.read.T) and _small(self.linear(self.offset), self.offset)

    def linear(self, x: Float[Tensor, "width ..."]) -> Float[Tensor, "width ..."]:
        """M x = x + write (read^T x)."""
        return x + self.write @ (self.read.T @ x)

    def equals(self, other: AffineMap) -> bool:
        """Whether it is the same map, whatever its factors."""
        if self.write.shape[0] != other.write.shape[0]:
            return False
        mine, theirs = (torch.cat([x.write, x.offset[:, None]], 1) for x in (self, other))
        reads = [torch.block_diag(x.read, torch.ones(1, 1, dtype=x.read.dtype)) for x in (self, other)]
        return _small(mine @ reads[0].T - theirs @ reads[1].T, theirs @ reads[1].T)


def affine_map(intervention: Intervention, factor: Tensor | None) -> AffineMap:
    """What an intervention does to an activation, for one factor.

    Args:
        intervention: an inference-time edit, as `das.steering.operations` makes it.
        factor: (1,) or None.

    Raises:
        CapabilityError: it is no affine map of the activation alone.
    """
    if intervention.conditioner is not None:
        raise _refusal(intervention, intervention.conditioner, "depends on the row")
    if not intervention.edit.affine:
        raise _refusal(intervention, intervention.edit, "is no affine function of the activation alone")
    if not intervention.gate.constant:
        raise _refusal(intervention, intervention.gate, "depends on the activation")
    exact = deepcopy(intervention).to("cpu", torch.float64)
    ctx = Context(factor=None if factor is None else factor.detach().to("cpu", torch.float64))
    frame = exact.featurizer.frame(ctx)
    if not isinstance(frame, LinearFrame | Identity) or (isinstance(frame, LinearFrame) and frame.read.dim() != 2):
        raise _refusal(intervention, intervention.featurizer, "is not linear")

    def change(h: Tensor) -> Tensor:
        x = h[None, None]
        z = frame.coordinates(x)
        return (exact.gate(z, x, ctx)[0] * (exact.edit(z, x, {}, ctx)[0] - z))[0, 0]

    zero = torch.zeros(exact.width, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(change, zero, vectorize=exact.rank > _FEW)
    write = frame.write if isinstance(frame, LinearFrame) else torch.eye(exact.width, dtype=torch.float64)
    with torch.no_grad():
        return AffineMap(write.detach(), jacobian.T.detach(), (write @ change(zero)).detach())


def _small(difference: Tensor, scale: Tensor) -> bool:
    return bool(difference.abs().max() <= _EQUAL * scale.abs().max())


def _refusal(intervention: Intervention, part: Part, why: str) -> CapabilityError:
    return CapabilityError(
        f"method {intervention.name!r} cannot be folded into weights: a part of it {why}", got=type(part).__name__,
        remedy="steer with das.steer instead",
    )  # fmt: skip
