"""A subspace as plain data and tensors, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from das.artifacts.steers import steers_by
from das.errors import ArtifactError, DasError
from das.factors import Factors
from das.interventions.serial import from_spec, to_spec
from das.interventions.sets import InterventionSet, Placement
from das.types import Site

_VECTORS = ("positive", "negative", "positive_spread", "negative_spread", "maximum")
#: Most coordinates that are written out for people; the tensors file is what is read back.
_SHOWN = 8

Known = Sequence[Factors | None]


def describe_sites(interventions: InterventionSet, factors: Known) -> list[dict[str, Any]]:
    """Every placement: where it is, what it is, and the factors known there."""
    return [
        {
            **placement.write.to_json(),
            "reads": {name: site.to_json() for name, site in placement.reads.items()},
            "intervention": interventions.order[i],
            "method": interventions[i].name,
            "width": interventions[i].width,
            "rank": interventions[i].rank,
            "dimension": interventions[i].dimension,
            "invariants": interventions[i].invariants(),
            "steers_by": steers_by(interventions[i]),
            "factors": None if (known := factors[i]) is None else _describe_factors(known),
        }
        for i, placement in enumerate(interventions.placements)
    ]


def describe_interventions(interventions: InterventionSet) -> list[dict[str, Any]]:
    """Every distinct intervention."""
    return [to_spec(x) for x in interventions.distinct()]


def _describe_factors(factors: Factors) -> dict[str, Any]:
    shown = {name: getattr(factors, name).tolist() for name in _VECTORS if len(factors.positive) <= _SHOWN}
    labels = {"positive_label": factors.labels[0], "negative_label": factors.labels[1]}
    return {**labels, "count": factors.count, "deviation": factors.deviation, "gap": factors.gap, "for_people": shown}


def tensors_of(interventions: InterventionSet, factors: Known) -> dict[str, Tensor]:
    """All tensors of an artifact by name."""
    tensors = {k: v.detach() for k, v in interventions.state_dict().items()}
    for i, known in enumerate(factors):
        if known is not None:
            tensors |= {f"factors.{i}.{name}": getattr(known, name).detach().float() for name in _VECTORS}
    return tensors


def rebuild(
    specs: Sequence[Mapping[str, Any]], sites: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]
) -> tuple[InterventionSet, tuple[Factors | None, ...]]:
    """Inverse of the descriptions and `tensors_of`; frozen, in eval mode.

    Raises:
        ArtifactError: descriptions and tensors do not fit each other, or a tensor is not finite.
    """
    try:
        distinct = [from_spec(spec) for spec in specs]
        entries = []
        for site in sites:
            reads = {name: Site.from_json(read) for name, read in site["reads"].items()}
            if not 0 <= site["intervention"] < len(distinct):
                raise KeyError(f"intervention {site['intervention']}")
            entries.append((Placement(Site.from_json(site), reads), distinct[site["intervention"]]))
        interventions = InterventionSet(entries)
        interventions.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("factors.")})
        factors = tuple(_factors(i, site["factors"], interventions[i].rank, tensors) for i, site in enumerate(sites))
        if stray := sorted(tensors.keys() - tensors_of(interventions, factors).keys()):
            raise KeyError(f"tensors that nothing describes: {', '.join(stray)}")
    except DasError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ArtifactError("the artifact's files do not fit each other", got=str(error)[:300]) from error
    if any((site["width"], site["rank"]) != (x.width, x.rank) for site, x in zip(sites, interventions, strict=True)):
        stated = str([(site["width"], site["rank"]) for site in sites])
        raise ArtifactError("the tensors' width or rank differs from the one stated", got=stated)
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point()):
        raise ArtifactError("the tensors hold NaN or infinity", got=", ".join(sorted(tensors)))
    return interventions.requires_grad_(False).eval(), factors


def _factors(i: int, described: Mapping[str, Any] | None, rank: int, tensors: Mapping[str, Tensor]) -> Factors | None:
    if described is None:
        return None
    labels = (str(described["positive_label"]), str(described["negative_label"]))
    vectors = {name: tensors[f"factors.{i}.{name}"] for name in _VECTORS}
    if any(v.shape != (rank,) or not v.is_floating_point() for v in vectors.values()):
        raise KeyError(f"factors of rank {rank}")
    return Factors(**vectors, labels=labels, count=int(described["count"]), deviation=float(described["deviation"]))


def plain(value: Any) -> Any:
    """JSON-able copy; NaN and infinity become None because JSON has neither."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
