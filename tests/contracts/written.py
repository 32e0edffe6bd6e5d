"""What tasks that read files are given to read: settings per yaml, and rows in the schema of each."""

from __future__ import annotations

import json
import tempfile
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


@cache
def settings(name: str) -> dict[str, Any]:
    """A file for a task that reads one, and what else it must be told; nothing for a task that samples."""
    if name not in FILES:
        return {}
    rows, more = FILES[name]
    path = Path(tempfile.mkdtemp()) / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return {"path": str(path), "strict": True, **more}
