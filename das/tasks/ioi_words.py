"""What prompts of `das.tasks.ioi` are made of: names, objects, places and templates of this project, or of a folder.

A folder has names.json, objects.json, places.json and templates.json, each a list of texts, as MIB's task files do
(arXiv 2504.13151). Templates may do without an object or a place; of those that differ in "a {object}" and "an
{object}" each is used with objects that it fits. Torch-free.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from das.errors import ConfigError
from das.tasks.names import BOYS, GIRLS
from das.tasks.render import check_template

FIELDS = ("name_A", "name_B", "name_C", "place", "object")
#: 99 names, as many as MIB has; each is one token of the model that does this task.
NAMES: tuple[str, ...] = (
    *GIRLS, *BOYS, "Alice", "Clara", "Eva", "Grace", "Helen", "Ivy", "June", "Rose", "Adam", "Felix", "George", "Henry",
    "Leo", "Oscar", "Paul",
)  # fmt: skip
OBJECTS: tuple[str, ...] = ("book", "cake", "drum", "flower", "hat", "kite", "letter", "present", "shell", "toy")
PLACES: tuple[str, ...] = ("barn", "beach", "castle", "farm", "market", "museum", "park", "river", "theatre", "zoo")
TEMPLATES: tuple[str, ...] = (
    "After {name_A} and {name_B} went to the {place}, {name_C} gave a {object} to",
    "When {name_A} and {name_B} came to the {place}, {name_C} handed a {object} to",
    "One day {name_A} and {name_B} met at the {place}. {name_C} had a {object} for",
    "Then {name_A} and {name_B} walked to the {place}, and {name_C} showed a {object} to",
    "At the {place} {name_A} and {name_B} sat down, and {name_C} passed a {object} to",
    "While {name_A} and {name_B} were at the {place}, {name_C} sold a {object} to",
    "Before the {place} closed, {name_A} and {name_B} came in. {name_C} lent a {object} to",
    "Near the {place} {name_A} and {name_B} rested. Soon {name_C} threw a {object} to",
)
_ARTICLE = re.compile(r"\b(an?) \{object\}")


@dataclass(frozen=True)
class Words:
    """Names, and every template with an object that fits it, and places.

    Attributes:
        names: distinct.
        settings: (template, object), each template with every object that its article fits.
        places: any.
    """

    names: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    places: tuple[str, ...]

    @classmethod
    def of(cls, names: list[str], objects: list[str], places: list[str], templates: list[str]) -> Words:
        """Checked.

        Raises:
            ConfigError: a name twice, no places, no object that fits a template, or a template with other fields.
        """
        for template in templates:
            check_template(template, [f for f in FIELDS if f in FIELDS[:3] or f"{{{f}}}" in template])
        settings = tuple((t, o) for t in dict.fromkeys(templates) for o in objects if _fits(t, o))
        if len(set(names)) < len(names) or not settings or not places:
            raise ConfigError(
                "prompts need different names, places, and objects that fit the templates",
                got=f"{len(set(names))} of {len(names)} names, {len(places)} places, {len(settings)} fitting objects",
            )
        return cls(tuple(names), settings, tuple(places))

    @classmethod
    def own(cls) -> Words:
        """This project's."""
        return cls.of([*NAMES], [*OBJECTS], [*PLACES], [*TEMPLATES])

    @classmethod
    def read(cls, folder: str) -> Words:
        """A folder's.

        Raises:
            ConfigError: a file is absent, or no list of texts.
        """
        return cls.of(
            *(_listed(Path(folder).expanduser() / f"{n}.json") for n in ("names", "objects", "places", "templates"))
        )

    def words(self) -> list[str]:
        """Every word and sign of every prompt, sorted."""
        text = " ".join([*self.names, *self.places, *(word for setting in self.settings for word in setting)])
        return sorted(set(re.findall(r"\w+|[^\w\s]+", re.sub(r"{\w+}", " ", text))))


def _fits(template: str, thing: str) -> bool:
    return all((found[1] == "an") == (thing[:1].lower() in tuple("aeiou")) for found in _ARTICLE.finditer(template))


def _listed(file: Path) -> list[str]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file.name} cannot be read", got=str(file), remedy=str(error)) from error
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ConfigError(f"{file.name} is no list of texts", got=str(file), remedy="write a JSON list")
    return found
