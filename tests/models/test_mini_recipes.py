"""The tokenizers of ravel_mini and causalgym_mini know every word of their tasks, and every label is one token."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from das.models.recipes.base import recipe
from das.models.word_tokenizer import BOS, UNK
from das.tasks.base import SPLITS, Task
from das.tasks.causalgym_mini import TEMPLATES, causalgym_mini
from das.tasks.ravel_mini import PROMPTS, ravel_mini

TASKS: dict[str, Sequence[Task]] = {
    "ravel_mini": [ravel_mini([attribute], setting=how) for attribute in PROMPTS for how in ("entity", "context")],
    "causalgym_mini": [causalgym_mini(name, control) for name in TEMPLATES for control in (False, True)],
}


@pytest.mark.parametrize("name", TASKS)
def test_every_word_is_known_and_every_label_is_one_token(name):
    made = recipe(name)
    tokens = made.tokenizer()
    assert len(tokens) == made.config().vocab_size
    for task in TASKS[name]:
        for pair in (p for split in SPLITS for p in task.pairs(split, 8, 0)):
            for prompt in (pair.base, *pair.sources.values()):
                ids = tokens(prompt.text)["input_ids"]
                assert ids[0] == BOS and UNK not in ids and len(ids) <= made.config().max_position_embeddings
                for mentions in prompt.spans.values():
                    for start, end in mentions:
                        assert len(tokens(prompt.text[start:end])["input_ids"]) == 1 + len(
                            prompt.text[start:end].split()
                        )
            for label in (pair.base_label, pair.counterfactual_label):
                assert tokens(pair.base.text + label)["input_ids"][:-1] == tokens(pair.base.text)["input_ids"]
