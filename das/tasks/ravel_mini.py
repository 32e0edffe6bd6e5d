"""ravel_mini: RAVEL's protocol on 200 cities of this project's own list, whose names and values are one token each.

    people in Aswan usually speak        (the next token is " Arabic")

Half of the cities are for training, a quarter for val and for test; every country has as many of its cities in each
split as any other. So have templates. What it means: `das.tasks.ravel`. A model that knows the cities: "ravel_mini"
(`das.models.recipes.ravel_mini`); it reads the city in its first block, so the site is that block's input at the
city's token. Torch-free.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from das.tasks.cities import CITIES
from das.tasks.ravel import Ravel
from das.tasks.ravel_splits import KINDS
from das.tasks.ravel_table import SLOT, RavelTable

#: Of each row four templates are for training, two for val and two for test.
PROMPTS: dict[str, tuple[str, ...]] = {
    "Country": (
        "%s is a city in", "the country of %s is", "a train to %s ends in", "the flag above %s is that of",
        "passports from %s are printed in", "%s belongs to the country of", "a map of %s is a map of",
        "those who govern %s govern",
    ),
    "Continent": (
        "%s lies on the continent of", "the continent of %s is", "a ship to %s sails to", "a globe shows %s as part of",
        "birds over %s are birds of", "%s belongs to the continent of", "the coast nearest to %s is that of",
        "on the continent list %s is under",
    ),
    "Language": (
        "people in %s usually speak", "the language of %s is", "books from %s are written in", "signs in %s are in",
        "children in %s learn to read", "in a school of %s they teach", "songs from %s are sung in",
        "the papers of %s are in",
    ),
}  # fmt: skip
#: Ask for nothing.
PLAIN: tuple[str, ...] = (
    "my friend went to %s with", "the hotel in %s had", "it rained in %s on", "we met in %s after",
    "a letter came from %s for", "she painted %s by", "they left %s before", "he dreams of %s at",
)  # fmt: skip
_SHARES = ("train", "test", "train", "val")


def _splits() -> dict[str, str]:
    """Of every country, and of every row of prompts, half for training."""
    groups: dict[str, list[str]] = {}
    for city, known in CITIES.items():
        groups.setdefault(known["Country"], []).append(city)
    for cities in groups.values():
        random.Random("ravel_mini/cities").shuffle(cities)
    dealt = [*groups.values(), *PROMPTS.values(), PLAIN]
    return {name: _SHARES[i % len(_SHARES)] for group in dealt for i, name in enumerate(group)}


TABLE = RavelTable(CITIES, PROMPTS, dict.fromkeys(PLAIN), _splits())
LABELS: tuple[str, ...] = tuple(f" {value}" for a in PROMPTS for value in sorted({c[a] for c in CITIES.values()}))


def words() -> list[str]:
    """Every word that prompts and answers hold, sorted."""
    text = " ".join([*PLAIN, *(t for row in PROMPTS.values() for t in row), *CITIES, *LABELS]).replace(SLOT, "")
    return sorted(set(re.findall(r"\w+", text)))


def ravel_mini(
    variables: Sequence[str] = ("Country",),
    attributes: Sequence[str] | None = None,
    setting: str = "entity",
    kinds: Sequence[str] = KINDS,
    variant: str = "ravel",
) -> Ravel:
    """The task; arguments are those of `das.tasks.ravel.Ravel`."""
    return Ravel(TABLE, variables, attributes, setting, kinds, variant, "ravel_mini", LABELS)
