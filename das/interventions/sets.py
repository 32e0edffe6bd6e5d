"""An ordered set of interventions: several sites, several named sources, one pass.

Edits apply in the model's forward order; at the same site, in declared order. Each placement says where its
intervention writes the base and where it reads each source. The same `Intervention` object may be placed more than
once: it is kept once, so its parameters are tied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import final

from torch import nn

from das.errors import ConfigError
from das.interventions.base import Intervention
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
            written site's own layer and component, where `Site.read` says; what only a conditioner looks at, at all
            tokens of its prompt.

    Attributes:
        interventions: the distinct ones.
        placements: where they are, in declared order.
        order: for every placement, the number of its intervention.
    """

    def __init__(self, entries: Sequence[tuple[Placement | Site, Intervention]]) -> None:
        super().__init__()
        if not entries:
            raise ConfigError("an intervention set needs at least one intervention", got="none")
        distinct = list({id(x): x for _, x in entries}.values())
        self.interventions = nn.ModuleList(distinct)
        self.placements = tuple(_placed(where, intervention) for where, intervention in entries)
        self.order = tuple(next(n for n, x in enumerate(distinct) if x is intervention) for _, intervention in entries)

    @property
    def learned(self) -> bool:
        """Whether anything is trainable."""
        return any(p.requires_grad for p in self.parameters())

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all sources read, sorted; none for a set that only edits."""
        return tuple(sorted({name for placement in self.placements for name in placement.reads}))

    def distinct(self) -> Iterator[Intervention]:
        """Every intervention once."""
        for found in self.interventions:
            assert isinstance(found, Intervention)
            yield found

    def __iter__(self) -> Iterator[Intervention]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Intervention:
        """The intervention of placement `i`."""
        found = self.interventions[self.order[i]]
        assert isinstance(found, Intervention)
        return found

    def __len__(self) -> int:
        return len(self.placements)

    def frozen(self) -> InterventionSet:
        """A copy on the CPU, in eval mode, with nothing to train."""
        return deepcopy(self).to("cpu").eval().requires_grad_(False)

    def project_gradient(self) -> None:
        """Keep every gradient's tangent part before an optimiser step."""
        for intervention in self.distinct():
            intervention.project_gradient()

    def retract(self) -> None:
        """Return every intervention to its manifold after an optimiser step."""
        for intervention in self.distinct():
            intervention.retract()

    def invariants(self) -> dict[str, float]:
        """Every violation, keyed "NUMBER/NAME"."""
        return {f"{n}/{k}": v for n, x in enumerate(self.distinct()) for k, v in x.invariants().items()}


def _placed(where: Placement | Site, intervention: Intervention) -> Placement:
    """With a read site for every source."""
    edit = intervention.edit
    if isinstance(where, Site):
        where = Placement(where, {name: where.read(name) for name in edit.sources})
    missing = set(edit.sources) - set(where.reads)
    if missing:
        raise ConfigError("a placement lacks read sites for its edit's sources", got=str(sorted(missing)))
    whole = replace(where.write, positions="prompt", source_positions=None)
    return Placement(where.write, {**where.reads, **dict.fromkeys(intervention.seen, whole)})
