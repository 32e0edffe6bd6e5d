"""One batch of prompts through both implementations, on the same random model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from das.batch import PairBatch, Positions, TokenBatch
from das.engine.engine import Engine
from das.engine.resume import base_state
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet, Placement
from das.types import SOURCE, Site
from tests.families import VOCAB, tiny_model
from tests.parity.cases import PROGRESS
from tests.parity.peer import pv

#: What logits may differ by, and gradients, as a share of the largest entry.
LOGITS, GRADIENT = 1e-4, 1e-4
LAYER = 1
COMPONENTS = (
    "block_input", "block_output", "mlp_input", "mlp_activation", "mlp_output", "attention_input", "attention_output",
    "attention_value_output", "query_output", "key_output", "value_output",
    "head_attention_value_output", "head_query_output", "head_key_output", "head_value_output",
)  # fmt: skip
#: Those whose width depends on the heads.
HEADED = COMPONENTS[7:]
#: Columns of the three rows, written and read: one per row, and several.
WRITTEN, READ = [[3], [5], [6]], [[2], [4], [7]]
SEVERAL = [[1, 3, 4], [2, 5, 8], [0, 6, 7]], [[2, 0, 4], [3, 8, 6], [7, 5, 1]]
ROWS, TOKENS, PADS = 3, 9, 2
#: Columns (B, P): one list per row.
Columns = Sequence[Sequence[int]]


@cache
def model(family: str) -> nn.Module:
    """A tiny model of this family in which an edit of any site shows in the logits."""
    made = tiny_model(family)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if ("norm" in name or ".ln_" in name) and name.endswith("weight"):
                parameter += 1.0
    return made


def prompts(seed: int) -> TokenBatch:
    """Random prompts, one of them padded on the left."""
    ids = torch.randint(3, VOCAB, (ROWS, TOKENS), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(ROWS, TOKENS, dtype=torch.bool)
    mask[1, :PADS] = False
    return TokenBatch(ids.masked_fill(~mask, 0), mask)


@dataclass(frozen=True)
class Spot:
    """Where one intervention works.

    Attributes:
        site: layer, component, heads.
        written: columns (B, P) of the base.
        read: columns (B, P) of the source, of each source by name where das reads several; None where there is none.
        source: name of the source that pyvene reads.
        rows: rows of the base that are written; None for all. Only das can leave rows out.
    """

    site: Site
    written: Columns
    read: Columns | Mapping[str, Columns] | None = None
    source: str = SOURCE
    rows: range | None = None

    def writes(self) -> Positions:
        """For das."""
        where = _positions(self.written)
        chosen = torch.tensor([self.rows is None or r in self.rows for r in range(len(where.mask))])
        return Positions(where.index, where.mask & chosen[:, None])

    def reads(self, source: str) -> Positions:
        """For das."""
        assert self.read is not None
        return _positions(self.read[source] if isinstance(self.read, Mapping) else self.read)

    def units(self, columns: Columns) -> list[Any]:
        """pyvene's unit locations (B, P), or (2, B, ...) with heads."""
        rows = [list(row) for row in columns]
        return rows if self.site.heads is None else [[list(self.site.heads)] * len(rows), rows]


@dataclass(frozen=True)
class Runs:
    """A base, its sources, and where interventions work, one spot each."""

    family: str
    spots: tuple[Spot, ...]
    base: TokenBatch
    sources: Mapping[str, TokenBatch]

    def clean(self) -> Tensor:
        """Logits (B, K, V) without any edit."""
        return self.pick(model(self.family)(**inputs(self.base)).logits)

    def pick(self, logits: Tensor) -> Tensor:
        """The logits (B, K, V) that are compared: all that edits can reach."""
        return logits.gather(1, self._labels()[..., None].expand(-1, -1, logits.shape[-1]))

    def theirs(self, interventions: Sequence[Any], subspaces: Any = None, **settings: Any) -> Tensor:
        """pyvene's logits (B, K, V)."""
        reading = [(s, not i.is_source_constant) for s, i in zip(self.spots, interventions, strict=True)]
        sources = [inputs(self.sources[s.source]) if reads else None for s, reads in reading]
        read = [s.units(s.read) if reads else None for s, reads in reading]
        where = {"sources->base": (read, [s.units(s.written) for s in self.spots])}
        wrapped = wrap(self.family, [s.site for s in self.spots], interventions, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SigmoidMask copies a tensor in a way that torch warns of
            return self.pick(wrapped(inputs(self.base), sources, where, subspaces=subspaces)[1].logits)

    def ours(
        self, interventions: Sequence[Intervention], resumed: bool = True, placements: Sequence[Placement] = ()
    ) -> Tensor:
        """das' logits (B, K, V), resumed at the lowest site as in training, or with hooks on the whole model.

        Sources are read where the base is written, unless `placements` say otherwise.
        """
        where = placements or [s.site for s in self.spots]
        placed = InterventionSet(list(zip(where, interventions, strict=True)))
        labels = self._labels()
        batch = PairBatch(
            base=self.base, sources=self.sources, writes=tuple(s.writes() for s in self.spots),
            reads=tuple({n: s.reads(n) for n in p.reads} for s, p in zip(self.spots, placed.placements, strict=True)),
            label_positions=labels, label_ids=torch.zeros_like(labels), label_mask=torch.ones_like(labels).bool(),
            rows=torch.arange(len(labels)), changed=torch.ones(len(labels)).bool(),
        )  # fmt: skip
        engine = Engine(model(self.family), placed.placements)
        state = base_state(engine.view, engine.block, batch) if resumed else None
        return engine.outputs(batch, placed, engine.sources(batch), state, PROGRESS).logits

    def copies(self, count: int) -> Runs:
        """`count` copies of the rows, the n-th of them written by the n-th spot only: as many runs in one."""
        [spot] = self.spots
        rows = len(self.base.ids)
        repeated = replace(spot, written=[*spot.written] * count, read=[*spot.read] * count)
        spots = tuple(replace(repeated, rows=range(i * rows, (i + 1) * rows)) for i in range(count))
        sources = {name: _repeated(tokens, count) for name, tokens in self.sources.items()}
        return Runs(self.family, spots, _repeated(self.base, count), sources)

    def first(self) -> Runs:
        """With only the first spot; pyvene writes all rows there."""
        return replace(self, spots=self.spots[:1])

    def _labels(self) -> Tensor:
        first = torch.stack([torch.tensor(s.written).amin(1) for s in self.spots]).amin(0)
        return (first[:, None] + torch.arange(TOKENS - int(first.min()))).clamp(max=TOKENS - 1)


class Apart(pv.TrainableIntervention):
    """pyvene's interventions side by side, each with a share of the rows to itself."""

    def __init__(self, interventions: Sequence[Any], subspaces: Sequence[Any]) -> None:
        super().__init__(keep_last_dim=True)
        self.interventions, self.subspaces = nn.ModuleList(interventions), subspaces

    def forward(self, base: Tensor, source: Tensor, subspaces: Any = None) -> Tensor:
        """Each by pyvene's own rule of which axes it sees."""
        shares = zip(*(x.chunk(len(self.subspaces)) for x in (base, source)), strict=True)
        done = [
            pv.models.modeling_utils.do_intervention(b.clone(), None if i.is_source_constant else s, i, chosen)
            for (b, s), i, chosen in zip(shares, self.interventions, self.subspaces, strict=True)
        ]
        return torch.cat(done)


def wrap(family: str, sites: Sequence[Site], interventions: Sequence[Any], **settings: Any) -> Any:
    """pyvene's model around these sites."""
    where = [{"layer": s.layer, "component": s.component, "unit": "h.pos" if s.heads else "pos"} for s in sites]
    represented = [w | {"intervention": i} | settings for w, i in zip(where, interventions, strict=True)]
    return pv.IntervenableModel(represented, model(family))


def inputs(tokens: TokenBatch) -> dict[str, Tensor]:
    """Keyword arguments of the model, positions explicit."""
    return {"input_ids": tokens.ids, "attention_mask": tokens.mask.long(), "position_ids": tokens.position_ids}


def far(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return float((a - b).detach().abs().max())


def _positions(columns: Columns) -> Positions:
    index = torch.tensor([list(row) for row in columns])
    return Positions(index, torch.ones_like(index).bool())


def _repeated(tokens: TokenBatch, count: int) -> TokenBatch:
    return TokenBatch(tokens.ids.repeat(count, 1), tokens.mask.repeat(count, 1))
