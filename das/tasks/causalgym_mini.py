"""causalgym_mini: eight tasks of this project's own in CausalGym's template language, with few words. Torch-free.

    agr_number_pp    The baker near the sailors | is      agr_number_relc  The baker that greeted the sailors | has
    agr_gender       Emma smiled because | she            refl_number      The baker near the sailor blamed | himself
    npi_any          No baker that knew the sailor bought | any            npi_ever  No baker near the sailor had | ever
    filler_gap       we know who the baker greeted | .    cleft            What the baker did was | make

What a pair is: `das.tasks.causalgym`. Fillers and labels are words of one token each for the model "causalgym_mini"
(`das.models.recipes.causalgym_mini`), which learns all eight.
"""

from __future__ import annotations

import re
from typing import Any

from das.errors import UnknownChoiceError
from das.tasks.causalgym import CONTROL, CausalGym
from das.tasks.names import BOYS, GIRLS
from das.tasks.templates import Gym

_ONE = [
    "baker", "sailor", "dancer", "painter", "lawyer", "singer", "gardener", "plumber", "tailor", "butcher", "hunter",
    "miner", "porter", "driver", "clown", "pirate", "wizard", "shepherd",
]  # fmt: skip
_MANY = [f"{word}s" for word in _ONE]
_NOUNS = _ONE + _MANY
_PLACE = ["near", "behind", "beside", "above", "below", "opposite"]
_DONE = ["greeted", "followed", "helped", "praised", "watched", "ignored", "visited", "warned"]

_SUBJECT = {"one": _ONE, "many": _MANY}


def _task(template: str, label: str, labels: dict[str, list[str]], **variables: Any) -> dict[str, Any]:
    space = all(word.isalpha() for words in labels.values() for word in words)
    shown = labels if space else {of: [w if w == "." else f" {w}" for w in words] for of, words in labels.items()}
    return {"templates": [template], "label": label, "labels": shown, "variables": variables,
            "result_prepend_space": space}  # fmt: skip


#: Name -> entry of the template language.
TEMPLATES: dict[str, dict[str, Any]] = {
    "agr_number_pp": _task(
        "The {subject} {prep} the {object}", "subject", {"one": ["is"], "many": ["are"]},
        subject=_SUBJECT, prep=_PLACE, object=_NOUNS,
    ),
    "agr_number_relc": _task(
        "The {subject} that {verb} the {object}", "subject", {"one": ["has"], "many": ["have"]},
        subject=_SUBJECT, verb=_DONE, object=_NOUNS,
    ),
    "agr_gender": _task(
        "{name} {verb} {adverb} because", "name", {"girl": ["she"], "boy": ["he"]},
        name={"girl": list(GIRLS), "boy": list(BOYS)},
        verb=["smiled", "sang", "ran", "slept", "left", "waited", "laughed"],
        adverb=["again", "quietly", "today", "early", "often"],
    ),
    "refl_number": _task(
        "The {subject} {prep} the {object} {verb}", "subject", {"one": ["himself"], "many": ["themselves"]},
        subject=_SUBJECT, prep=_PLACE, object=_NOUNS, verb=["blamed", "hurt", "admired", "cheered"],
    ),
    "npi_any": _task(
        "{det} {subject} that knew the {object} {verb}", "det", {"any": ["any"], "some": ["some"]},
        det={"any": ["No"], "some": ["The"]}, subject=_ONE, object=_NOUNS,
        verb=["bought", "found", "sold", "wanted"],
    ),
    "npi_ever": _task(
        "{det} {subject} {prep} the {object} had", "det", {"ever": ["ever"], "never": ["never"]},
        det={"ever": ["No"], "never": ["The"]}, subject=_NOUNS, prep=_PLACE, object=_NOUNS,
    ),
    "filler_gap": _task(
        "{prefix} {gap} the {subject} {verb}", "gap", {"that": ["him"], "who": ["."]},
        prefix=["we know", "they said", "you heard", "it seems"], gap={"that": ["that"], "who": ["who"]},
        subject=_NOUNS, verb=_DONE,
    ),
    "cleft": _task(
        "What the {subject} {verb} {when} was", "verb", {"act": ["make"], "thing": ["for"]}, subject=_NOUNS,
        verb={"act": ["did"], "thing": ["made", "cooked", "broke", "drew", "wrote", "built"]},
        when=["yesterday", "today", "then", "once"],
    ),
}  # fmt: skip


def words() -> list[str]:
    """Every word and sign of the tasks and of their controls, sorted."""
    found = {
        word for text in _texts(TEMPLATES) for word in re.findall(r"\w+|[^\w\s{}]+", re.sub(r"{[^}]*}", " ", text))
    }
    return sorted(found | {label.strip() for label in CONTROL})


def causalgym_mini(name: str = "agr_number_pp", control: bool = False, unchanged: float = 0.0) -> CausalGym:
    """One of the eight; `control` and `unchanged` as in `das.tasks.causalgym.CausalGym`.

    Raises:
        UnknownChoiceError: no such task.
    """
    if name not in TEMPLATES:
        raise UnknownChoiceError("task of causalgym_mini", name, TEMPLATES)
    return CausalGym(Gym.parse(name, TEMPLATES[name]), name, control, unchanged)


def _texts(node: Any) -> list[str]:
    """All templates, labels and fillers."""
    if isinstance(node, str):
        return [node]
    if isinstance(node, list):
        return [text for item in node for text in _texts(item)]
    held = {k: v for k, v in node.items() if k != "label"} if isinstance(node, dict) else {}
    return [text for item in held.values() for text in _texts(item)]
