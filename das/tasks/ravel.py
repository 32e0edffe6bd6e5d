"""ravel: which subspace holds one attribute of an entity, and none of its others? (RAVEL, arXiv 2402.17700)

Causal model: entity -> each attribute;  (asked, attributes) -> answer, the value of the attribute asked for

    {"city": "Aalborg", "country": "                    (next is what Denmark is made of)

The span "entity" is read and written. A pair sets one attribute (of `variables`) to a source entity's value. Cause: the
base is asked for it, and its answer becomes the source's. Isolate: the base is asked for another one, and its answer
stays. One half of the pairs is of each kind, other attributes equally often. What the base is asked has different
values for the two entities, so a no-op scores 0 on one half and 1 on the other, and a full swap 1 and 0.

Source prompts (`kinds`): "output" asks what the base asks, "cause" asks for another attribute, "other" asks for none
(Wikipedia). For val and test (template, entity) is drawn with weight 1 / (c + count), where count is how many of them
have the same value of what the base asks, and c is 10 (setting entity) or 20 (context); for train without weights, of
all kinds together. An entity is seen with at most ten templates of an attribute in training.

setting    entity: val and test have entities of their own, and templates of train; context: the other way round
variant    ravel; mib: twice as many pairs that ask for the variable as for every other one, and equal values are left
           in (arXiv 2504.13151, whose attributes are Country, Continent, Language)

The paper's labels are what its model says; here they are the values of the table, and a template that wants another
form of them ("UTC") has to be filtered by what the model knows. Several variables have a source each, "first",
"second", ..., all but one of them the base. Torch-free; the files: `das.tasks.ravel_table`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from das.errors import EmptySplitError, UnknownChoiceError
from das.tasks.base import check_split, deal, stream
from das.tasks.causal import CausalModel
from das.tasks.ravel_splits import KINDS, Query, RavelSplits
from das.tasks.ravel_table import SLOT, RavelTable, read_table
from das.tasks.sources import check_variables, source_names
from das.types import CounterfactualPair, Prompt, SpanFinder

SETTINGS, VARIANTS = ("entity", "context"), ("ravel", "mib")
SPAN = "entity"
_TRIES = 1000


class Ravel:
    """The ravel task; see the module's docstring.

    Args:
        table: entities, prompts, splits.
        variables: attributes to interchange.
        attributes: attributes that are asked for; all by default.
        setting, kinds, variant: as above.
        name: of the task.
        labels: the label set, where all values are single tokens; None where they are of any length.

    Attributes:
        dropped: entities left out because they lack a value.

    Raises:
        UnknownChoiceError, ConfigError: no such attribute, setting, kind or variant.
    """

    def __init__(
        self,
        table: RavelTable,
        variables: Sequence[str],
        attributes: Sequence[str] | None = None,
        setting: str = "entity",
        kinds: Sequence[str] = KINDS,
        variant: str = "ravel",
        name: str = "ravel",
        labels: tuple[str, ...] | None = None,
    ) -> None:
        self.attributes = tuple(attributes or table.attributes)
        given: list[tuple[str, str, Sequence[str]]] = [("setting", setting, SETTINGS), ("variant", variant, VARIANTS)]
        given += [("attribute", a, table.attributes) for a in self.attributes]
        for what, chosen, known in given + [("kind of source", kind, KINDS) for kind in kinds]:
            if chosen not in known:
                raise UnknownChoiceError(f"{what} of {name}", chosen, known)
        check_variables(name, variables, [self.attributes])
        self.name, self.labels, self.table, self.variables = name, labels, table, tuple(variables)
        self.setting, self.kinds, self.variant = setting, tuple(kinds), variant
        left_out = frozenset(table.incomplete(self.attributes))
        self.dropped: Mapping[str, int] = {"label": len(left_out)} if left_out else {}
        self._known = [entity for entity in table.values if entity not in left_out]
        self._sources = source_names(self.variables)
        self._split = RavelSplits(
            table, self._known, self.attributes, self.setting, self.kinds, variant == "ravel", name
        )
        self.causal_model = _causal_model(table, self.attributes)

    @cached_property
    def finder(self) -> SpanFinder:
        """All entities."""
        return SpanFinder(SPAN, tuple(self._known))

    def entities(self, split: str) -> frozenset[str]:
        """The entities of this split; in setting "context" its templates."""
        check_split(self.name, split)
        if self.setting == "entity":
            return frozenset(self._split.entities(split))
        asked = [template for attribute in self.attributes for template in self.table.prompts[attribute]]
        return frozenset(template for template in (*asked, *self.table.plain) if self.table.splits[template] == split)

    def pairs(self, split: str, n: int, seed: int) -> list[CounterfactualPair]:
        """`n` pairs, every cell of (variable, attribute asked for) as often as the module says."""
        check_split(self.name, split)
        rng = stream(self.name, f"pairs/{'/'.join(self.variables)}/{self.setting}", split, n, seed)
        times = 2 if self.variant == "mib" else max(1, len(self.attributes) - 1)
        cells = [(v, a) for v in self.variables for a in self.attributes for _ in range(times if a == v else 1)]
        return [
            self._pair(split, variable, asked, self._kind(split, rng), rng) for variable, asked in deal(cells, n, rng)
        ]

    def cells(self, split: str, n: int, seed: int) -> Mapping[str, Mapping[str, list[CounterfactualPair]]]:
        """What `das.metrics.aggregate.disentangle` takes accuracies of: attribute -> template and kind -> `n` pairs.

        All set the first of `variables`. A template without sources of a kind is left out, as in the paper's code.
        """
        check_split(self.name, split)
        rng = stream(self.name, "cells", split, n, seed)
        found: dict[str, dict[str, list[CounterfactualPair]]] = {}

        def drawn(asked: str, kind: str, template: str) -> list[CounterfactualPair]:
            return [self._pair(split, self.variables[0], asked, kind, rng, template) for _ in range(n)]

        for asked in self.attributes:
            pools = [kind for kind in self.kinds if self._split.sources(split, asked, kind)]
            tasks = [(template, kind) for template in self._split.templates(split, asked) for kind in pools]
            found[asked] = {f"{template} [{kind}]": drawn(asked, kind, template) for template, kind in tasks}
        return found

    def _pair(
        self, split: str, variable: str, asked: str, kind: str | None, rng: random.Random, template: str | None = None
    ) -> CounterfactualPair:
        base, source = self._draw(split, asked, kind, rng, template)
        inputs = [{"entity": entity, "asked": asked} for _, entity in (base, source)]
        label = self.causal_model.run(inputs[0])["answer"]
        changed = self.causal_model.interchange(inputs[0], {variable: inputs[1]})["answer"]
        prompts = {v: _prompt(*(source if v == variable else base)) for v in self.variables}
        return CounterfactualPair(
            _prompt(*base), {self._sources[v]: prompt for v, prompt in prompts.items()},
            answer(base[0], label), answer(base[0], changed),
            entities=frozenset(query[self.setting == "entity"] for query in (base, source)),
        )  # fmt: skip

    def _draw(
        self, split: str, asked: str, kind: str | None, rng: random.Random, template: str | None
    ) -> tuple[Query, Query]:
        """A base and a source that differ: in what is asked, or (mib) in the entity."""
        pool, entities = self._split.sources(split, asked, kind), self._split.entities(split)
        values = self.table.values
        for _ in range(_TRIES):
            if pool is None or not entities:
                break
            entity = rng.choice(entities)
            base = (template or rng.choice(self._split.asked(split, asked, entity)), entity)
            source = rng.choices(pool[0], cum_weights=pool[1])[0]
            if source[1] != entity and (self.variant == "mib" or values[source[1]][asked] != values[entity][asked]):
                return base, source
        raise EmptySplitError(
            f"split {split!r} of {self.name} has no two entities that differ in {asked}",
            got=f"{len(entities)} entities, source prompts {kind or ', '.join(self.kinds)}",
            remedy="use another split, other kinds, or other attributes",
        )

    def _kind(self, split: str, rng: random.Random) -> str | None:
        return None if split == "train" else rng.choice(self.kinds)


def ravel(
    path: str,
    entity_type: str = "city",
    variables: Sequence[str] = ("Country",),
    attributes: Sequence[str] | None = None,
    setting: str = "entity",
    kinds: Sequence[str] = KINDS,
    variant: str = "ravel",
    values: str | None = None,
) -> Ravel:
    """The task on RAVEL's own files.

    Args:
        path: the folder, see `das.tasks.ravel_table`.
        entity_type: city, nobel_prize_winner, occupation, physical_object or verb.
        variables, attributes, setting, kinds, variant: see `Ravel`.
        values: another file of entities and attributes, e.g. MIB's ravel_city_entity.json.
    """
    table = read_table(path, entity_type, values)
    return Ravel(table, variables, attributes, setting, kinds, variant)


def answer(template: str, value: str) -> str:
    """What follows a template: the value without what the template already says of it, spaced as the template asks."""
    first, _, rest = value.partition(" ")
    if value[0] == template[-1] == "/":  # /pronunciation/
        return value[1:]
    if rest and template.endswith((f" {first}", f'"{first}')):  # "to", of what a verb means
        return f" {rest}"
    return value if template[-1] in " \"'(/" else f" {value}"


def _prompt(template: str, entity: str) -> Prompt:
    start = template.index(SLOT)
    return Prompt(template.replace(SLOT, entity), {SPAN: ((start, start + len(entity)),)})


def _causal_model(table: RavelTable, attributes: Sequence[str]) -> CausalModel:
    def reader(attribute: str) -> Any:
        return lambda entity: table.values[entity][attribute]

    return CausalModel(
        parents={"entity": (), "asked": (), **dict.fromkeys(attributes, ("entity",)), "answer": ("asked", *attributes)},
        mechanisms={
            **{attribute: reader(attribute) for attribute in attributes},
            "answer": lambda asked, *known: dict(zip(attributes, known, strict=True))[asked],
        },
    )
