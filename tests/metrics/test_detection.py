"""Detection scores: known values, hard negatives apart, and the pipeline on AxBench's own rows."""

from __future__ import annotations

import pytest
import torch

from das.errors import EmptySplitError, InputError
from das.metrics.detection import detection, max_over_tokens
from das.models.load import load_model
from das.tasks.axbench import axbench, read_concept
from das.training.detection import bag_of_words, detect, difference_in_means, direction_scores
from das.training.problem import DataSettings, Problem
from das.types import Site

NONE = torch.zeros(0)


def test_known_values() -> None:
    found = detection(torch.tensor([3.0, 9.0, 5.0]), torch.tensor([1.0, 4.0]), torch.tensor([4.5, 6.0, 7.0, 0.0]))
    assert found["auroc"] == pytest.approx(5 / 6)  # of 6 pairs of a positive and a negative, one is the wrong way round
    assert found["threshold"] == pytest.approx(5.0)  # two of three positives, no negative: J = 2/3
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["hard_negatives"] == 0.5


def test_only_the_order_of_scores_matters_and_no_ties_are_made() -> None:
    generator = torch.Generator().manual_seed(0)
    positive, negative = torch.randn(40, generator=generator) + 0.5, torch.randn(30, generator=generator)
    plain = detection(positive, negative, NONE)
    stretched = detection(positive * 1e4 + 1e5, negative * 1e4 + 1e5, NONE)
    pairs = (positive[:, None] > negative).double().mean()
    assert plain["auroc"] == pytest.approx(float(pairs)) and stretched["auroc"] == pytest.approx(float(pairs))
    assert "hard_negatives" not in plain
    assert detection(-positive, -negative, NONE)["auroc"] == pytest.approx(1 - float(pairs))
    shuffled = torch.cat([positive, negative])[torch.randperm(70, generator=generator)]
    assert abs(detection(shuffled[:40], shuffled[40:], NONE)["auroc"] - 0.5) < 0.15


def test_what_cannot_be_scored() -> None:
    with pytest.raises(EmptySplitError, match="needs positives and negatives"):
        detection(torch.ones(3), NONE, NONE)
    with pytest.raises(InputError, match="not finite"):
        detection(torch.ones(3), torch.tensor([torch.nan]), NONE)
    scores, real = torch.tensor([[1.0, 9.0], [-3.0, -4.0]]), torch.tensor([[True, False], [True, True]])
    assert max_over_tokens(scores, real).tolist() == [1.0, -3.0]


def test_axbench_rows(shared_path) -> None:
    """Concept 4, "layout attributes in a UI design context", in layer 3 of a small model of children's stories."""
    folder = shared_path("data/axbench_concept10/prod_2b_l20_v1")
    files = [str(folder / f"{name}_data.parquet") for name in ("train", "latent_eval")]
    train, test = (read_concept(file, 4) for file in files)
    assert [len(train.of(c)) for c in ("positive", "negative")] == [72, 72]
    assert [len(test.of(c)) for c in ("positive", "negative", "hard negative")] == [36, 36, 4]
    model = load_model(shared_path("models/stories3M"))
    problem, site = Problem(model, axbench(*files, concept_id=4), data=DataSettings(batch_size=36)), Site(layer=3)
    w = difference_in_means(problem, site, train, longest=96)
    found = detect(direction_scores(problem, site, w, test.answers, longest=96), test)
    random = torch.randn(2, len(w), generator=torch.Generator().manual_seed(0))
    chance = [detect(direction_scores(problem, site, r, test.answers, longest=96), test)["auroc"] for r in random]
    words = detect(bag_of_words(train, test.answers), test)
    assert words["auroc"] > 0.95 and found["auroc"] > 0.8 and {"hard_negatives"} <= set(found) & set(words)
    assert found["auroc"] > max(chance) + 0.05, "long responses score higher by any direction: 0.7, not 0.5"
