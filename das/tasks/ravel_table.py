"""What RAVEL is sampled from: entities with attributes, prompts that ask for them, the split of each. Torch-free.

A folder holds, for an entity type T (city, nobel_prize_winner, occupation, physical_object, verb), the files of
github.com/explanare/ravel (arXiv 2402.17700), all of them JSON objects:

    ravel_T_entity_attributes.json     entity -> {attribute: value}
    ravel_T_attribute_to_prompts.json  attribute -> [template with one %s]
    ravel_T_entity_to_split.json       entity -> train, val or test
    ravel_T_prompt_to_split.json       template -> train, val or test
    wikipedia_T_entity_prompts.json    template -> {split, entity or null}: asks for no attribute

Known holes: "Gender Bias" of occupation has prompts and no values, and two laureates have empty ones. An attribute
without values is left out, and so is an entity that lacks a value (`RavelTable.incomplete`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from das.errors import ConfigError, UnknownChoiceError
from das.tasks.base import SPLITS

SLOT = "%s"


@dataclass(frozen=True)
class RavelTable:
    """Entities, prompts, splits.

    Attributes:
        values: entity -> attribute -> value.
        prompts: attribute -> templates, each with one %s for the entity.
        plain: template that asks for nothing -> the only entity it is about, or None.
        splits: entity or template -> its split.
    """

    values: Mapping[str, Mapping[str, str]]
    prompts: Mapping[str, Sequence[str]]
    plain: Mapping[str, str | None]
    splits: Mapping[str, str]

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Those with prompts and values."""
        return tuple(a for a in self.prompts if any(known.get(a) for known in self.values.values()))

    def incomplete(self, attributes: Sequence[str]) -> tuple[str, ...]:
        """Entities that lack a value."""
        return tuple(e for e, known in self.values.items() if not all(known.get(a) for a in attributes))


def read_table(path: str, entity_type: str, values: str | None = None) -> RavelTable:
    """The table of one entity type.

    Args:
        path: the folder.
        entity_type: T.
        values: another file of the first kind, e.g. MIB's ravel_city_entity.json; only its entities are used.

    Raises:
        UnknownChoiceError: the folder has files, and none for this type.
        ConfigError: no such folder, a file that cannot be read, or entries that do not fit together, naming the file.
    """
    folder = Path(path).expanduser()
    known = sorted(f.name[6:-23] for f in folder.glob("ravel_*_entity_attributes.json"))
    if not known:
        raise ConfigError("no files of RAVEL there", got=path, remedy="give the folder that data.tgz was unpacked to")
    if entity_type not in known:
        raise UnknownChoiceError("entity type of RAVEL", entity_type, known)
    entities = _read(folder / f"ravel_{entity_type}_entity_attributes.json" if values is None else Path(values))
    prompts = _read(folder / f"ravel_{entity_type}_attribute_to_prompts.json")
    other = _read(folder / f"wikipedia_{entity_type}_entity_prompts.json")
    splits = {
        **_read(folder / f"ravel_{entity_type}_entity_to_split.json"),
        **_read(folder / f"ravel_{entity_type}_prompt_to_split.json"),
        **{template: about.get("split") for template, about in other.items()},
    }
    _check(folder / f"ravel_{entity_type}_entity_to_split.json", entities, splits)
    asked = [template for templates in prompts.values() for template in templates]
    _check(folder / f"ravel_{entity_type}_prompt_to_split.json", asked, splits)
    _check(folder / f"wikipedia_{entity_type}_entity_prompts.json", other, splits)
    if wrong := [template for template in (*asked, *other) if template.count(SLOT) != 1]:
        raise ConfigError(
            "a template of RAVEL has one %s, for the entity", got=wrong[0], remedy=f"correct it in {folder}"
        )
    return RavelTable(entities, prompts, {template: about.get("entity") for template, about in other.items()}, splits)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file.name} cannot be read", got=str(error), remedy="unpack data.tgz anew") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file.name} holds no JSON object", got=type(found).__name__, remedy="unpack data.tgz anew")
    return found


def _check(file: Path, names: Sequence[str] | Mapping[str, Any], splits: Mapping[str, Any]) -> None:
    for name in names:
        if splits.get(name) not in SPLITS:
            raise ConfigError(
                f"{file.name} gives an entry no split", got=f"{name!r}: {splits.get(name)!r}",
                remedy=f"write one of {', '.join(SPLITS)}",
            )  # fmt: skip
