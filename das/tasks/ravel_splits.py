"""Which entities and templates of RAVEL a split has, and which sources its pairs are drawn from. Torch-free.

What is held out, and weights of sources: `das.tasks.ravel`; code of explanare/ravel (arXiv 2402.17700).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate

from das.tasks.base import SPLITS
from das.tasks.ravel_table import RavelTable

KINDS = ("output", "cause", "other")
#: Entities that a source template is drawn with; templates that an entity is asked with in training.
SOURCES, TRAIN_SOURCES, TEMPLATES = 100, 10, 10
#: Added to the count of a label in the weight of a source.
SMOOTHING: Mapping[str, int] = {"entity": 10, "context": 20}

#: A template and the entity in it.
Query = tuple[str, str]


class RavelSplits:
    """Entities, templates and sources of every split.

    Args:
        table: all there are.
        entities: those that can be asked everything.
        attributes: what is asked for.
        setting: what is held out, "entity" or "context".
        kinds: of source prompts.
        weighed: draw sources with rare labels more often, outside of training.
        key: what fixed draws depend on.
    """

    def __init__(
        self, table: RavelTable, entities: Sequence[str], attributes: Sequence[str], setting: str, kinds: Sequence[str],
        weighed: bool, key: str,
    ) -> None:  # fmt: skip
        self._table, self._attributes, self._kinds, self._key = table, attributes, kinds, key
        self._setting, self._weighed = setting, weighed
        self._by_split = {split: [e for e in entities if table.splits[e] == split] for split in SPLITS}
        self.sources = cache(self._make_sources)

    def entities(self, split: str) -> list[str]:
        """All entities of its pairs."""
        return self._by_split["train" if self._setting == "context" else split]

    def templates(self, split: str, asked: str) -> list[str]:
        """Those that ask for an attribute."""
        return [t for t in self._table.prompts[asked] if self._here(split, t)]

    def asked(self, split: str, asked: str, entity: str) -> Sequence[str]:
        """Those that may ask this entity for it."""
        templates = self.templates(split, asked)
        if split != "train" or len(templates) <= TEMPLATES:
            return templates
        return random.Random(f"{self._key}/{asked}/{entity}").sample(templates, TEMPLATES)

    def _make_sources(self, split: str, asked: str, kind: str | None) -> tuple[list[Query], list[float]] | None:
        """Sources of a kind (None: of all) with cumulative weights, for bases that are asked this; None if none."""
        known, values = self.entities(split), self._table.values
        here, many = frozenset(known), TRAIN_SOURCES if split == "train" else SOURCES
        found: list[Query] = []
        for template in (t for k in self._kinds if kind in (k, None) for t in self._of_kind(k, asked)):
            if self._here(split, template):
                about = self._table.plain.get(template)
                rng = random.Random(f"{self._key}/{split}/{template}")
                drawn = rng.sample(known, min(many, len(known))) if about is None else [about] if about in here else []
                found += [(template, entity) for entity in drawn]
        counts = Counter(values[entity][asked] for _, entity in found)
        c = SMOOTHING[self._setting]
        flat = split == "train" or not self._weighed
        weights = [1.0 if flat else 1 / (c + counts[values[entity][asked]]) for _, entity in found]
        return (found, list(accumulate(weights))) if found else None

    def _of_kind(self, kind: str, asked: str) -> list[str]:
        if kind == "other":
            return list(self._table.plain)
        chosen = [a for a in self._attributes if (a == asked) == (kind == "output")]
        return [template for attribute in chosen for template in self._table.prompts[attribute]]

    def _here(self, split: str, template: str) -> bool:
        return self._table.splits[template] == ("train" if self._setting == "entity" else split)
