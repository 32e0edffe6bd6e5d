"""The one equation: h' = h + lift(gate * (edit(z) - z), z) with z = coordinates(h).

Written as a change, so that `source == base` is an exact no-op, whatever the featurizer does not cover is untouched,
and an imperfect featurizer's reconstruction error cancels. The maths runs in fp32 (or fp64 if the activation is fp64)
with autocast off; the result returns in the activation's dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor, nn

from das.conditioners.base import Conditioner, ConditionerResult
from das.context import Context
from das.edits.add import Add
from das.edits.base import Edit
from das.edits.clamp import Clamp
from das.edits.zero import Zero
from das.errors import ConfigError
from das.featurizers.base import Featurizer
from das.gates.all import All
from das.gates.base import Gate, Selective
from das.part import Constrained, Part, Penalised, Scope
from das.shapes import Activation, SourceActivation, SourceCoordinates

#: The steering operation that reuses the edit an intervention was trained with.
AS_TRAINED = "as_trained"

_NO_CONTEXT = Context()


@dataclass(frozen=True)
class Edited:
    """An edited activation (B, P, width) in its own dtype, and what the parts reported."""

    activation: Activation
    aux: Mapping[str, Tensor]


@final
class Intervention(nn.Module):
    """Featurizer, edit, gate and perhaps a conditioner composed at one site.

    Args:
        featurizer: which coordinates.
        edit: what happens to them.
        gate: how much of each; all of it by default.
        conditioner: what is computed per row before that.
        steering: operation -> template of the edit that steers with it, the default first; clamp, add and ablate if
            None. Templates hold no values of their own: statistics or values are filled in when they steer. An edit
            without sources that works token by token also steers as it was trained, and then that is the default.
        trained_by: name of the objective that trains it unless another is given.
        name: the method's name, for artifacts and messages.

    Raises:
        ConfigError: a template that holds values, or a part that wants of every row what the conditioner does not give.
    """

    def __init__(
        self,
        featurizer: Featurizer,
        edit: Edit,
        gate: Gate | None = None,
        *,
        conditioner: Conditioner | None = None,
        steering: Mapping[str, Edit] | None = None,
        trained_by: str = "counterfactual_ce",
        name: str = "custom",
    ) -> None:
        super().__init__()
        self.featurizer, self.edit, self.gate, self.conditioner = featurizer, edit, gate or All(), conditioner
        self.steering: Mapping[str, Edit] = standard_steering(featurizer.rank) if steering is None else dict(steering)
        self.trained_by, self.name = trained_by, name
        if conditioner is not None:  # otherwise a batch may say it
            conditioner.check(self.modules())
        for op, template in self.steering.items():
            if any(bool(t.any()) for t in template.state_dict().values()):
                raise ConfigError(
                    f"the template of steering operation {op!r} holds values, which no artifact keeps",
                    got=type(template).__name__, remedy="make it without them: factors or value= fill it in",
                )  # fmt: skip

    @property
    def width(self) -> int:
        """Size of the activation."""
        return self.featurizer.width

    @property
    def rank(self) -> int:
        """Number of coordinates."""
        return self.featurizer.rank

    @property
    def dimension(self) -> int:
        """Number of coordinates that the gate leaves open: what a control of equal rank has to match."""
        return int(self.gate.support().sum()) if isinstance(self.gate, Selective) else self.rank

    @property
    def seen(self) -> tuple[str, ...]:
        """Names of the sources that only the conditioner looks at, all tokens of their prompts."""
        wanted = () if self.conditioner is None else self.conditioner.sources
        return tuple(name for name in wanted if name not in self.edit.sources)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all sources."""
        return (*self.edit.sources, *self.seen)

    @property
    def scope(self) -> Scope:
        """Whether it can run token by token."""
        return "sequence" if any(part.scope == "sequence" for part in self.parts()) else "token"

    @property
    def operations(self) -> tuple[str, ...]:
        """Steering operations, the default first."""
        own = (AS_TRAINED,) if not self.edit.sources and self.edit.scope == "token" else ()
        return (*own, *self.steering)

    def parts(self) -> Iterator[Part]:
        """Conditioner (if any), featurizer, edit, gate."""
        if self.conditioner is not None:
            yield self.conditioner
        yield from (self.featurizer, self.edit, self.gate)

    def forward(
        self, h: Activation, sources: Mapping[str, SourceActivation] | None = None, ctx: Context = _NO_CONTEXT
    ) -> Edited:
        """Edit activations (B, P, width), given the sources' activations (B, P or 1, width)."""
        with torch.autocast(h.device.type, enabled=False):
            x = _precise(h)
            read = {name: s.to(x.dtype) for name, s in (sources or {}).items()}
            rows, aux = self.rows(x, read, ctx)
            ctx = ctx.with_rows(rows)
            frame = self.featurizer.frame(ctx)
            z = frame.coordinates(x)
            new, edit_aux = self.edit(z, x, {name: frame.coordinates(s) for name, s in read.items()}, ctx)
            share, gate_aux = self.gate(z, x, ctx)
            edited = x + frame.lift(share * (new - z), z)
            return Edited(edited.to(h.dtype), _merged(aux, edit_aux, gate_aux, self._penalties()))

    def rows(self, h: Activation, sources: Mapping[str, SourceActivation], ctx: Context) -> ConditionerResult:
        """What the conditioner makes of each row; nothing without one."""
        if self.conditioner is None:
            return {}, {}
        with torch.autocast(h.device.type, enabled=False):
            read = {name: s.float() for name, s in sources.items()}
            return cast(ConditionerResult, self.conditioner(h.float(), read, ctx))

    def coordinates(self, h: SourceActivation, ctx: Context = _NO_CONTEXT) -> SourceCoordinates:
        """Coordinates (B, P, rank) of activations (B, P, width), in fp32 or better."""
        with torch.autocast(h.device.type, enabled=False):
            return self.featurizer.frame(ctx).coordinates(_precise(h))

    def with_edit(self, edit: Edit) -> Intervention:
        """The same parts around another edit."""
        return Intervention(
            self.featurizer, edit, self.gate, conditioner=self.conditioner,
            steering=self.steering, trained_by=self.trained_by, name=self.name,
        )  # fmt: skip

    def without_conditioner(self) -> Intervention:
        """The same parts without the conditioner, for contexts that hold its `rows` already."""
        return Intervention(
            self.featurizer, self.edit, self.gate, steering=self.steering, trained_by=self.trained_by, name=self.name
        )

    def _penalties(self) -> dict[str, Tensor]:
        summed: dict[str, Tensor] = {}
        for part in self.modules():
            for name, value in part.penalties().items() if isinstance(part, Penalised) else ():
                key = f"penalty/{name}"
                summed[key] = summed[key] + value if key in summed else value
        return summed

    def invariants(self) -> dict[str, float]:
        """Violations of what must hold, by name; the largest where several parts state the same."""
        found = [named for part in self._constrained() for named in part.invariants().items()]
        return {name: max((v for k, v in found if k == name), key=lambda v: (v != v, v)) for name, _ in found}

    def project_gradient(self) -> None:
        """Keep the gradient's tangent part before an optimiser step."""
        for part in self._constrained():
            part.project_gradient()

    def retract(self) -> None:
        """Return parameters to their manifold after an optimiser step."""
        for part in self._constrained():
            part.retract()

    def _constrained(self) -> list[Constrained]:
        return [part for part in self.modules() if isinstance(part, Constrained)]


def standard_steering(rank: int) -> dict[str, Edit]:
    """What any set of coordinates can be steered with."""
    return {"clamp": Clamp(rank), "add": Add(rank), "ablate": Zero()}


def _precise(h: Tensor) -> Tensor:
    return h.to(torch.promote_types(h.dtype, torch.float32))


def _merged(*reports: Mapping[str, Tensor]) -> dict[str, Tensor]:
    merged: dict[str, Tensor] = {}
    for report in reports:
        if twice := set(merged) & set(report):
            raise ConfigError("two parts of one intervention report under the same name", got=str(sorted(twice)))
        merged.update(report)
    return merged
