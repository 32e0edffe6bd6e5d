"""Representation target: activations behind the intervention must reach a place in a saved subspace (SSR's losses).

Equation   cosine   mean over watched tokens of (t s - cos(h, v))^2,  v the subspace's direction, s = `value`
           probe    mean over watched tokens of - log sigmoid(t logit(h)),  logit(h) = log N(z; a+) - log N(z; a-)
                    with z the subspace's coordinates of h along the line through the concept's two means a+ and a-:
                    the linear discriminant between its two values
           t = 1 where the concept is elicited, -1 where it is suppressed
Units      squared cosine, or nats; per watched token
Rows       elicit (t = 1), or contrasts (both directions)
Watched    where the subspace writes, at `positions`; with `layer` elsewhere
Source     github.com/Sckathach/subspace-rerouting, which searches prompts with them; here they train interventions
Raises     ConfigError without a subspace; CapabilityError for a subspace without a single direction (cosine) or without
           factors (probe), or of another width; UnknownChoiceError
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from das.artifacts.subspace import Subspace
from das.batch import PairBatch
from das.errors import CapabilityError, ConfigError, UnknownChoiceError
from das.factors import Factors
from das.featurizers.base import Spanning
from das.interventions.base import Intervention
from das.objectives.base import Loss, Needs
from das.outputs import Outputs
from das.shapes import Activation
from das.types import Rows

Kind = Literal["cosine", "probe"]


@final
class RepresentationTarget:
    """Pull a watched activation to where a subspace says that the concept lies.

    Args:
        subspace: a saved subspace, or the folder of one.
        kind: how far it is measured.
        value: the cosine that is wanted; unused by "probe".
        positions: where the base is watched.
        layer: watched layer; the subspace's own where None.
        rows: elicit or contrasts.
    """

    def __init__(
        self,
        subspace: Subspace | str | Path | None = None,
        kind: Kind = "cosine",
        value: float = 1.0,
        positions: str = "last",
        layer: int | None = None,
        rows: Rows = "elicit",
    ) -> None:
        for what, got, choices in (("kind", kind, ("cosine", "probe")), ("rows", rows, ("elicit", "contrasts"))):
            if got not in choices:
                raise UnknownChoiceError(f"{what} of objective 'representation_target'", got, choices)
        if subspace is None:
            raise ConfigError(
                "objective 'representation_target' needs a subspace to aim at", got="none",
                remedy="give objective.subspace=FOLDER, e.g. of a run with intervention=diff_means",
            )  # fmt: skip
        known = subspace if isinstance(subspace, Subspace) else Subspace.load(subspace)
        self.subspace, self.kind, self.value = repr(known), kind, value
        self._aims = tuple(zip(known.interventions, known.factors, strict=True))
        for intervention, factors in self._aims:
            _check(kind, intervention, factors)
        sites = [p.write for p in known.interventions.placements]
        watch = [replace(s, positions=positions, layer=s.layer if layer is None else layer) for s in sites]
        self.needs = Needs(rows, watch=tuple(watch))

    def __call__(self, outputs: Outputs, batch: PairBatch) -> Loss:
        """The loss of one batch."""
        sign = torch.ones(len(batch), device=batch.rows.device)
        if self.needs.rows == "contrasts":
            sign[1::2] = -1.0
        total, count = sign.new_zeros(()), 0
        for (intervention, factors), seen in zip(self._aims, outputs.watched, strict=True):
            h = seen.activation.to(torch.promote_types(seen.activation.dtype, torch.float32))
            if h.shape[-1] != intervention.width:
                raise CapabilityError(
                    "the subspace aimed at has another width than what is watched",
                    got=f"{intervention.width} for {h.shape[-1]}", remedy="watch the layer it was learned in",
                )  # fmt: skip
            each = self._distance(intervention, factors, h, sign[:, None].to(h))
            total = total + torch.where(seen.mask.to(h.device), each, 0.0).sum()
            count += int(seen.mask.sum())
        loss = total / max(count, 1)
        return Loss(loss, count, {"representation_target": loss.detach()})

    def _distance(
        self, intervention: Intervention, factors: Factors | None, h: Activation, sign: Float[Tensor, "batch 1"]
    ) -> Float[Tensor, "batch position"]:
        aim = intervention.to(h.device)
        if self.kind == "cosine":
            assert isinstance(aim.featurizer, Spanning)
            cosine = F.cosine_similarity(h, aim.featurizer.basis[:, 0].to(h), dim=-1)
            return (sign * self.value - cosine).square()
        assert factors is not None
        return F.softplus(-sign * discriminant(aim.coordinates(h), factors))


def discriminant(z: Float[Tensor, "*rows rank"], factors: Factors) -> Float[Tensor, " *rows"]:
    """log N(z; a+, s^2) - log N(z; a-, s^2) along the line through a- and a+, s^2 the pooled variance along it."""
    positive, negative = factors.positive.to(z), factors.negative.to(z)
    line, middle = positive - negative, (positive + negative) / 2
    return factors.gap**2 * ((z - middle) @ line) / line.square().sum().clamp(min=1e-24)


def _check(kind: Kind, intervention: Intervention, factors: Factors | None) -> None:
    if kind == "cosine" and not (isinstance(intervention.featurizer, Spanning) and intervention.rank == 1):
        raise CapabilityError(
            "a cosine needs a subspace of a single direction", got=f"{intervention.name} of rank {intervention.rank}",
            remedy="use objective.kind=probe, or a subspace of rank 1",
        )  # fmt: skip
    if kind == "probe" and (factors is None or intervention.conditioner is not None):
        raise CapabilityError(
            "a probe needs to know where the concept's two values lie", got=f"{intervention.name} without factors",
            remedy="use objective.kind=cosine, or fit the subspace on a task whose concept has two values",
        )  # fmt: skip


OBJECTIVE = RepresentationTarget
