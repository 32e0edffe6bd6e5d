"""What patching found, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from das.patching.effects import Effect


@dataclass(frozen=True)
class Row:
    """One patched site, or window of sites.

    Attributes:
        layers: one layer, or those of a window.
        component, positions, heads: as in `Site`.
        tokens: the patched tokens of the first pair's clean prompt, as text.
        effect: of patching it.
        singles: for a window, the sum of its sites' own effects.
    """

    layers: tuple[int | None, ...]
    component: str
    positions: str
    heads: tuple[int, ...] | None
    tokens: str
    effect: Effect
    singles: Effect | None = None


@dataclass(frozen=True)
class Level:
    """Means of a run that is not patched: p(r) and logit(r) - logit(r')."""

    p: float
    ld: float


@dataclass(frozen=True)
class Patching:
    """Effects of patching, and what they are relative to.

    Attributes:
        rows: in the order of the sites, then windows.
        direction: "denoising" or "noising".
        corruption: what corrupted the prompts.
        clean, corrupted: the two runs.
        pairs: pairs that were patched.
        given: pairs that there were, before those without two answers of equal length (and wrong ones) were dropped.
    """

    rows: Sequence[Row]
    direction: str
    corruption: str
    clean: Level
    corrupted: Level
    pairs: int
    given: int

    def best(self, measure: str = "ld") -> Row:
        """The row of the largest effect, windows left out; noising lowers `p`, other measures grow either way."""
        sign = -1 if (measure, self.direction) == ("p", "noising") else 1
        return max((r for r in self.rows if r.singles is None), key=lambda row: sign * getattr(row.effect, measure))

    def to_json(self) -> Mapping[str, Any]:
        """Plain data, one flat mapping per row."""
        told = {k: v for k, v in asdict(self).items() if k != "rows"}
        return {**told, "rows": [_flat(row) for row in self.rows]}


def _flat(row: Row) -> dict[str, Any]:
    found = asdict(row)
    singles = found.pop("singles")
    found |= found.pop("effect")
    found |= {"layers": list(row.layers), "heads": None if row.heads is None else list(row.heads)}
    return found | ({} if singles is None else {f"sum_of_singles/{k}": v for k, v in singles.items()})
