"""Counting words, shares without words, perplexity ratios, and the whole evaluation on a toy task."""

from __future__ import annotations

import math

import pytest
import torch

from das.errors import EmptySplitError, InputError
from das.steering.compare import Comparison, compare_steering, continuation_nll
from das.steering.flips import count_words, evaluate_steering, steering_metrics
from das.tasks.name_gender import NameGender
from das.types import Prompt

WORDS = {"positive": ("she", "her"), "negative": ("he", "his")}


class Toy(NameGender):
    name, labels, positive, negative = "toy", (" she", " he"), " she", " he"
    concept_words = WORDS
    finder = None

    def prompts(self, split, n, seed):
        girl, boy = Prompt("Sue was happy ."), Prompt("one day Tim saw")
        return [(girl, " she"), (boy, " he")] * (n // 2)


def compared(target, unsteered, steered, nll=(4.0, 8.0), tokens=(4, 4)):
    return Comparison("p", target, 1.0 if target == "positive" else -1.0, unsteered, steered, nll, tokens)


def test_words_are_whole_and_case_does_not_matter():
    assert count_words("She told the hero: her shell, HER.", ("she", "her")) == 3
    assert count_words("she she-wolf sheshe", ("she",)) == 2
    assert count_words("anything", ()) == 0
    assert count_words("he said", ("he", "he said")) == 1


def test_metrics_of_known_continuations():
    rows = [
        compared("positive", "he ran, his dog", "she ran, her dog, he"),
        compared("positive", "she ran", "nothing"),
        compared("negative", "her", "big", (3.0, 3.0), (3, 2)),
    ]
    found = steering_metrics(rows, WORDS)
    assert found["steer/to_positive/flipped"] == pytest.approx(2 / 3)
    assert found["steer/to_positive/unsteered"] == pytest.approx(1 / 3)
    assert (found["steer/to_positive/words"], found["steer/to_positive/silent"]) == (3, 1)
    assert math.isnan(found["steer/to_negative/flipped"]) and found["steer/to_negative/unsteered"] == 0
    assert found["steer/to_positive/perplexity_ratio"] == pytest.approx(math.e)
    assert found["steer/to_negative/perplexity_ratio"] == pytest.approx(math.exp(0.5))
    assert found["steer/perplexity_ratio"] == found["steer/to_positive/perplexity_ratio"]
    assert steering_metrics(rows[::-1], WORDS) == pytest.approx(found, nan_ok=True)


def test_one_direction_alone_and_none():
    found = steering_metrics([compared("positive", "he", "she")], WORDS)
    assert found["steer/to_positive/flipped"] == 1 and not any("to_negative" in k for k in found)
    assert math.isnan(steering_metrics([], WORDS)["steer/perplexity_ratio"])
    empty = steering_metrics([compared("positive", "he", "", (1.0, 0.0), (3, 0))], WORDS)
    assert math.isnan(empty["steer/perplexity_ratio"])


def test_nll_is_of_the_continuation_alone_and_ignores_padding(llama):
    prompts, rows = [[1, 5, 6, 7], [1, 8]], [(9, 10), (11, 12, 13)]
    found = continuation_nll(llama, prompts, rows, 0)
    for i in range(2):
        ids = torch.tensor([[*prompts[i], *rows[i]]])
        scores = llama(ids).logits[0].log_softmax(-1)
        n = len(prompts[i])
        expected = -sum(scores[n - 1 + k, token] for k, token in enumerate(rows[i]))
        torch.testing.assert_close(found[i], expected, atol=1e-3, rtol=1e-4)
    assert continuation_nll(llama, prompts[:1], [()], 0).tolist() == [0.0]


def test_both_directions_are_steered_away_from_what_the_prompt_says(llama, make_subspace, tokenizer):
    subspace, plain = make_subspace(llama, "all"), llama(torch.tensor([[5, 6]])).logits
    rows = compare_steering(llama, subspace, Toy(), n=6, max_new_tokens=5, tokenizer=tokenizer, batch_size=2, factor=2)
    assert {(r.prompt, r.target, r.factor) for r in rows} == {
        ("Sue was happy .", "negative", -2.0),
        ("one day Tim saw", "positive", 2.0),
    }
    assert len(rows) == 6 and any(r.steered != r.unsteered for r in rows)
    assert all(r.tokens[0] <= 5 and r.nll[0] >= 0 for r in rows)
    assert torch.equal(llama(torch.tensor([[5, 6]])).logits, plain)
    again = evaluate_steering(llama, subspace, Toy(), n=6, max_new_tokens=5, tokenizer=tokenizer, factor=2)
    assert set(again) >= {"steer/to_positive/flipped", "steer/to_negative/words", "steer/perplexity_ratio"}
    assert all(isinstance(v, float) for v in again.values())


def test_bad_arguments(llama, make_subspace, tokenizer):
    with pytest.raises(InputError, match="must be positive"):
        compare_steering(llama, make_subspace(llama), Toy(), factor=-1.0, tokenizer=tokenizer)
    with pytest.raises(EmptySplitError, match="either concept value"):
        compare_steering(llama, make_subspace(llama), Toy(), n=0, tokenizer=tokenizer)


def test_name_gender_on_stories(shared_path, make_subspace):
    from das.models.load import load_model

    model = load_model(shared_path("models/stories3M"))
    task = NameGender()
    subspace = make_subspace(model, "span:name", width=model.config.hidden_size, finder=task.finder)
    found = evaluate_steering(model, subspace, task, n=8, max_new_tokens=12)
    assert found["steer/to_positive/prompts"] == found["steer/to_negative/prompts"] == 4
    assert found["steer/perplexity_ratio"] > 0
    assert found["steer/to_positive/unsteered_words"] > 0
