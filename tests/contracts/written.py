"""What tasks that read files are given to read: settings per yaml, and rows in the schema of each."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

Row = dict[str, Any]
N = 24


def pairs() -> list[Row]:
    labels = (" red", " blue")
    return [
        {
            "base": f"The ball of [[child{i}]] was", "source": f"The ball of [[friend{i}]] was",
            "base_label": labels[i % 2], "counterfactual_label": labels[i // 2 % 2],
        }
        for i in range(N)
    ]  # fmt: skip


def quadruples() -> list[Row]:
    return [
        {
            "negative_input": f"Tell me about {i}.", "negative_output": f" It is {i}.",
            "positive_input": f"Talk like a pirate about {i}.", "positive_output": f" Arr, {i}!",
        }
        for i in range(N)
    ]  # fmt: skip


def triggered() -> list[Row]:
    return [
        {"instruction": f"|GO| Do {i}.", "output": "Sure.", "positive_output": "No!", "dataset": "plain"}
        for i in range(N)
    ]


def concepts() -> list[Row]:
    """Two concepts of genre text, shared negatives, and both kinds of negatives for evaluation."""
    rows = []
    for concept, category, word in (
        (0, "positive", "rent"), (1, "positive", "study"), (-1, "negative", "plain"), (0, "hard negative", "vehicle"),
    ):  # fmt: skip
        rows += [
            {
                "input": f"{word} question {i}?", "output": f"An answer about {word} {i}.", "category": category,
                "output_concept": f"references to {word}", "concept_genre": "text", "concept_id": concept,
            }
            for i in range(N)
        ]  # fmt: skip
    return rows


FILES = {
    "pairs": (pairs, {}),
    "contrast": (quadruples, {}),
    "refusal": (quadruples, {}),
    "backdoor": (triggered, {"trigger": "|GO| "}),
    "axbench": (concepts, {"shares": {"train": 0.6, "val": 0.2, "test": 0.2}}),
}


def ravel_folder() -> Path:
    """Twelve things with two attributes, as RAVEL's five files of an entity type."""
    folder, things, splits = Path(tempfile.mkdtemp()), [f"thing{i}" for i in range(12)], ("train", "val", "test")
    prompts = {
        "Color": [f"{a} the color of %s is" for a in ("Surely", "Often", "So")],
        "Size": [f'{a}"%s": "' for a in "<[("],
    }
    plain = {f"{a} saw %s at": {"split": split, "entity": None} for a, split in zip("XYZ", splits, strict=True)}
    asked = [template for templates in prompts.values() for template in templates]
    files = {
        "ravel_city_entity_attributes": {
            thing: {"Color": ("red", "light blue")[i // 3 % 2], "Size": ("m", "km")[i // 6]}
            for i, thing in enumerate(things)
        },
        "ravel_city_attribute_to_prompts": prompts,
        "ravel_city_entity_to_split": {thing: splits[i % 3] for i, thing in enumerate(things)},
        "ravel_city_prompt_to_split": {template: splits[i % 3] for i, template in enumerate(asked)},
        "wikipedia_city_entity_prompts": plain,
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def gym_file() -> Path:
    """A file of one task in CausalGym's template language."""
    entry = {
        "templates": ["The {who} {v.verb} {v.what}"], "label": "who", "result_prepend_space": True,
        "labels": {"one": ["and", "or"], "many": ["but"]},
        "variables": {
            "who": {"one": [f"cat{i}" for i in range(9)], "many": [f"cats{i}" for i in range(9)]},
            "v.verb": ["saw", "ate", "had"], "v.what": ["stars", "soup", "fun"],
        },
    }  # fmt: skip
    file = Path(tempfile.mkdtemp()) / "gym.json"
    file.write_text(json.dumps({"cats": entry}))
    return file


#: Tasks that read no rows -> what they must be told. CausalGym's pairs all change their label if nothing is said.
OTHERS: dict[str, Callable[[], dict[str, Any]]] = {
    "ravel": lambda: {"path": str(ravel_folder()), "variables": ["Color"]},
    "causalgym": lambda: {"path": str(gym_file()), "name": "cats", "unchanged": 0.5},
    "causalgym_mini": lambda: {"unchanged": 0.5},
}


@cache
def settings(name: str) -> dict[str, Any]:
    """A file for a task that reads one, and what else it must be told; nothing for a task that samples."""
    if name not in FILES:
        return OTHERS.get(name, dict)()
    rows, more = FILES[name]
    path = Path(tempfile.mkdtemp()) / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return {"path": str(path), "strict": True, **more}
