"""An ordered set of interventions: several sites, several named sources, one pass.

Edits apply in the model's forward order; at the same site, in declared order. Each placement says where its
intervention writes the base and where it reads each source. The same `Intervention` object may be placed more than
once: its parameters are then tied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import nn

from das.errors import ConfigError
from das.interventions.base import Intervention, Pairing
from das.types import Site


@dataclass(frozen=True)
class Placement:
    """Where one intervention writes, and where it reads each of its sources."""

    write: Site
    reads: Mapping[str, Site]


@final
class InterventionSet(nn.Module):
    """Interventions with their placements.

    Args:
        entries: (placement, intervention) in declared order. Sources without an explicit read site are read at the
            written site's own layer and component, at its `read_positions`.
    """

    def __init__(self, entries: Sequence[tuple[Placement | Site, Intervention]]) -> None:
        super().__init__()
        if not entries:
            raise ConfigError("an intervention set needs at least one intervention", got="none")
        self.interventions = nn.ModuleList([intervention for _, intervention in entries])
        self.placements = tuple(_placed(where, intervention) for where, intervention in entries)

    @classmethod
    def single(cls, site: Site, intervention: Intervention) -> InterventionSet:
        """One intervention at one site."""
        return cls([(site, intervention)])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all sources read, sorted."""
        return tuple(sorted({name for placement in self.placements for name in placement.reads}))

    @property
    def pairing(self) -> Pairing:
        """What data its methods train on."""
        kinds: set[Pairing] = {i.capabilities.pairing for i in self}
        if len(kinds) > 1:
            raise ConfigError("interventions of one set must train on the same kind of data", got=str(sorted(kinds)))
        return kinds.pop()

    @property
    def learned(self) -> bool:
        """Whether anything is trainable."""
        return any(p.requires_grad for p in self.parameters())

    def __iter__(self) -> Iterator[Intervention]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Intervention:
        found = self.interventions[index]
        assert isinstance(found, Intervention)
        return found

    def __len__(self) -> int:
        return len(self.interventions)

    def project_gradient(self) -> None:
        """Keep every gradient's tangent part before an optimiser step."""
        for intervention in self:
            intervention.project_gradient()

    def retract(self) -> None:
        """Return every intervention to its manifold after an optimiser step."""
        for intervention in self:
            intervention.retract()

    def invariants(self) -> dict[str, float]:
        """Every featurizer's violations, keyed "INDEX/NAME"."""
        return {f"{i}/{k}": v for i, x in enumerate(self) for k, v in x.featurizer.invariants().items()}


def _placed(where: Placement | Site, intervention: Intervention) -> Placement:
    if isinstance(where, Placement):
        missing = set(intervention.edit.sources) - set(where.reads)
        if missing:
            raise ConfigError("a placement lacks read sites for its edit's sources", got=str(sorted(missing)))
        return where
    read = replace(where, positions=where.read_positions, source_positions=None)
    return Placement(where, dict.fromkeys(intervention.edit.sources, read))
