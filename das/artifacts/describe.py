"""A subspace as plain data and tensors, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from das.artifacts.parts import Factors
from das.errors import ArtifactError
from das.interventions.serial import from_spec, to_spec
from das.interventions.sets import InterventionSet, Placement
from das.types import Site

_VECTORS = ("positive", "negative", "positive_spread", "negative_spread")


def describe_site(interventions: InterventionSet, i: int, factors: Factors | None) -> dict[str, Any]:
    """One placement with its intervention and factors, as plain data."""
    intervention, placement = interventions[i], interventions.placements[i]
    return {
        **placement.write.to_json(),
        "reads": {name: site.to_json() for name, site in placement.reads.items()},
        "width": intervention.width,
        "rank": intervention.rank,
        "invariants": intervention.featurizer.invariants(),
        "intervention": to_spec(intervention),
        "factors": None if factors is None else _describe_factors(factors),
    }


def _describe_factors(factors: Factors) -> dict[str, Any]:
    vectors = {name: getattr(factors, name).tolist() for name in _VECTORS}
    labels = {"positive_label": factors.labels[0], "negative_label": factors.labels[1]}
    return {**labels, "count": factors.count, **vectors, "gap": factors.gap}


def tensors_of(interventions: InterventionSet, factors: Sequence[Factors | None]) -> dict[str, Tensor]:
    """All tensors of an artifact by name."""
    tensors = {k: v.detach() for k, v in interventions.state_dict().items()}
    for i, known in enumerate(factors):
        if known is not None:
            tensors |= {f"factors.{i}.{name}": getattr(known, name).detach().float() for name in _VECTORS}
    return tensors


def rebuild(
    sites: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]
) -> tuple[InterventionSet, tuple[Factors | None, ...]]:
    """Inverse of `describe_site` and `tensors_of`; frozen, in eval mode.

    Raises:
        ArtifactError: description and tensors do not fit each other, or a tensor is not finite.
    """
    try:
        entries = []
        for site in sites:
            reads = {name: Site.from_json(read) for name, read in site["reads"].items()}
            entries.append((Placement(Site.from_json(site), reads), from_spec(site["intervention"])))
        interventions = InterventionSet(entries)
        interventions.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("factors.")})
        factors = tuple(_factors(i, site["factors"], tensors) for i, site in enumerate(sites))
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ArtifactError("the artifact's files do not fit each other", got=str(error)[:300]) from error
    if any(site["width"] != x.width for site, x in zip(sites, interventions, strict=True)):
        raise ArtifactError("the tensors' width differs from the one stated", got=str([s["width"] for s in sites]))
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point()):
        raise ArtifactError("the tensors hold NaN or infinity", got=", ".join(sorted(tensors)))
    return interventions.requires_grad_(False).eval(), factors


def _factors(i: int, described: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> Factors | None:
    if described is None:
        return None
    labels = (str(described["positive_label"]), str(described["negative_label"]))
    vectors = {name: tensors[f"factors.{i}.{name}"] for name in _VECTORS}
    return Factors(**vectors, labels=labels, count=int(described["count"]))


def plain(value: Any) -> Any:
    """JSON-able copy; NaN and infinity become None because JSON has neither."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
