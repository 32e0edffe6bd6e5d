"""Runs on tasks from files: rows that were left out are counted in the metrics; contrasts without responses train."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import das
from das.cli.report import facts
from das.errors import LabelError, PositionError
from das.interventions.sets import InterventionSet
from das.methods.das import das as rotated
from das.models.load import load_model
from das.objectives.jsd import JSD
from das.tasks.contrast import contrast
from das.tasks.name_gender import NameGender
from das.tasks.pairs import Pairs
from das.training.controls.run import ControlSettings
from das.training.measure import NOT_MEASURED
from das.training.problem import Problem
from das.types import Prompt, Site
from tests.toy import save_toy_model

DATA = das.DataSettings(n_train=16, n_val=4, n_test=8, n_contrast=8, response_tokens=3)
SETTINGS = das.FitSettings(DATA, das.AdamW(), das.TrainerSettings(max_steps=2, batch_size=4), ControlSettings(()))
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_toy_model(tmp_path_factory.mktemp("toy")))


def marked(prompt: Prompt) -> str:
    text = prompt.text
    for start, end in reversed(prompt.spans["name"]):
        text = f"{text[:start]}[[{text[start:end]}]]{text[end:]}"
    return text


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def gendered() -> list[dict]:
    """Rows of `name_gender`, 8 per split."""
    return [
        {
            "base": marked(pair.base), "source": marked(pair.sources["source"]), "base_label": pair.base_label,
            "counterfactual_label": pair.counterfactual_label, "split": split, "entity": sorted(pair.entities),
        }
        for split in SPLITS for pair in NameGender().pairs(split, 8, 0)
    ]  # fmt: skip


def test_rows_left_out_are_in_the_metrics(model, tmp_path: Path) -> None:
    rows = gendered()
    rows[1]["base"] = ""
    rows[2]["base_label"] = rows[2]["counterfactual_label"] = " she her"
    rows[9]["source"] = rows[9]["source"].replace("[[", "").replace("]]", "") + " [[ ]]]"
    path = write(tmp_path / "mine.jsonl", rows)
    settings = replace(SETTINGS, data=replace(DATA, strict=False))
    task, site = Pairs(path, strict=False), Site(1, positions="span:mark")
    fitted = das.fit(model, task, das.method("das", rank=1), site, settings=settings)
    dropped = {k.removeprefix("data/dropped/"): v for k, v in fitted.metrics.items() if k.startswith("data/dropped")}
    assert dropped == {"file/row": 1, "file/position": 1, "train/label": 1}
    assert fitted.metrics["data/train_rows"] == 6 and fitted.metrics["data/test_pairs"] == 8
    assert " she her" in task.labels and "one of (he, she) in" in facts(fitted.metrics)


def test_contrasts_whose_responses_the_model_writes(model, tmp_path: Path) -> None:
    rows = [
        {"negative_input": marked(c.negative), "positive_input": marked(c.positive), "split": split,
         "entity": sorted(c.entities)}
        for split in SPLITS for c in NameGender().contrasts(split, 8, 0)
    ]  # fmt: skip
    rows[0]["positive_input"] = rows[0]["positive_input"].replace("[[", "").replace("]]", "")
    task = contrast(write(tmp_path / "mine.jsonl", rows), mark="name")
    site, cdas = Site(1, positions="span:name"), das.method("cdas")
    with pytest.raises(PositionError, match=r"mine.jsonl, row 1: .*no span 'name'"):
        das.fit(model, task, cdas, site, objective=JSD(rows="contrasts"), settings=SETTINGS)
    loose = replace(SETTINGS, data=replace(DATA, strict=False))
    fitted = das.fit(model, task, cdas, site, objective=JSD(rows="contrasts"), settings=loose)
    assert fitted.metrics["data/train_rows"] == 14 and fitted.metrics["data/dropped/train/position"] == 2
    assert "responses are missing" in fitted.metrics[NOT_MEASURED]
    means = das.fit(model, task, das.method("diff_means"), site, settings=loose)
    assert means.subspace.factors[0] is not None and means.metrics["data/dropped/train_activations/position"] == 1


def test_pairs_that_the_model_answers_wrongly_are_dropped_and_counted(model) -> None:
    whole, kept = (
        das.fit(
            model, NameGender(), das.method("full_vector"), Site(1, positions="span:name"),
            settings=replace(SETTINGS, data=replace(DATA, n_test=32, n_val=32, filter_correct=on)),
        ).metrics
        for on in (False, True)
    )  # fmt: skip
    right = round(32 * whole["model/accuracy"])
    assert 0 < right < 32 and kept["data/test_pairs"] == right
    assert kept["data/dropped/test/model"] == 32 - right and kept["data/dropped/val/model"] > 0
    assert kept["model/accuracy"] == 1.0 and f"after {32 - right} of 32 were dropped" in facts(kept)
    assert not [key for key in whole if key.startswith("data/dropped")]


@pytest.mark.parametrize("number", [2, 20])
def test_a_label_of_several_tokens_is_an_error_of_the_row_that_has_it(number: int, model, tmp_path: Path) -> None:
    """The label set is checked after every base, in whichever split comes first."""
    rows = gendered()
    rows[number]["counterfactual_label"] = " she her"
    problem = Problem(model, Pairs(write(tmp_path / "mine.jsonl", rows)), data=DATA)
    placed = InterventionSet([(Site(1, positions="span:mark"), rotated(32, 1))])
    for split in SPLITS:
        with pytest.raises(LabelError, match=rf"^mine.jsonl, row {number + 1}: label ' she her' must be a single"):
            problem.dataset(split, placed)
