"""`das compare`: what runs measure, side by side, and which number is the best of its column."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from das.training.measure import SWAPPED

CHANGED = "iia_changed"


def run(original: Path, folder: Path, **metrics: Any) -> Path:
    """The files of a run, with these metrics."""
    shutil.copytree(original / "subspace", folder / "subspace")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    def steered(both: float, price: float) -> dict[str, float]:
        flipped = {f"steer/to_{way}/flipped": both for way in ("positive", "negative")}
        return {**flipped, "steer/perplexity_ratio": price}

    run(trained, tmp_path / "r" / "a, b", **{CHANGED: 0.5, "control/wrong_site/iia_changed": 0.25, **steered(0.9, 1.5)})
    run(trained, tmp_path / "r" / "c", **{CHANGED: 0.75, **steered(0.1, 1.0)})
    run(trained, tmp_path / "r" / "added", **{CHANGED: 0.875, SWAPPED: "it adds", **steered(1.0, 1.25)})
    return tmp_path / "r"


def test_the_best_of_each_column_is_marked(runs: Path, run_das: Callable) -> None:
    done = run_das("compare", str(runs / "a, b"), str(runs / "c"), str(runs / "added"))
    assert done.code == 0, done.err
    for shown in ("0.750*", "0.875~", "1.000*", "1.250*", "0.250 "):
        assert shown in done.out, shown
    assert "0.875*" not in done.out and "1.000 " in done.out  # that price bought nothing
    assert "reads no source" in done.out and "do not compare" not in done.out


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
def test_a_folder_of_runs_and_a_file(name: str, runs: Path, run_das: Callable, tmp_path: Path) -> None:
    out = tmp_path / name
    done = run_das("compare", str(runs), f"out={out}")
    assert done.code == 0, done.err
    rows = json.loads(out.read_text()) if name.endswith("json") else list(csv.DictReader(out.read_text().splitlines()))
    assert [Path(row["run"]).name for row in rows] == ["a, b", "added", "c"]
    assert [float(row[CHANGED]) for row in rows] == [0.5, 0.875, 0.75]
    assert {row["method"] for row in rows} == {"das"} and {row["task"] for row in rows} == {"name_gender"}
    assert str(rows[0]["swapped"]) == "False" and str(rows[1]["swapped"]) == "True"


def test_what_cannot_be_compared(runs: Path, run_das: Callable, tmp_path: Path) -> None:
    assert "no finished run" in run_das("compare", str(tmp_path / "nothing")).err
    assert "runs has no value" in run_das("compare").err
    assert ".csv or .json" in run_das("compare", str(runs), f"out={tmp_path / 't.txt'}").err
    (runs / "c" / "metrics.json").write_text("{")
    assert "cannot be read" in run_das("compare", str(runs)).err
    config = runs / "added" / "subspace" / "das_config.json"
    config.write_text(config.read_text().replace('"task": "name_gender"', '"task": "other"'))
    assert "differ in their task" in run_das("compare", str(runs / "added"), str(runs / "a, b")).out


def test_no_star_for_what_nothing_reaches_too_nor_across_tasks(
    trained: Path, run_das: Callable, tmp_path: Path
) -> None:
    nothing = {"control/no_intervention/iia_changed": 1.0, "data/test_pairs": 3}
    folders = [run(trained, tmp_path / name, **{CHANGED: 1.0, **more}) for name, more in (("a", nothing), ("b", {}))]
    done = run_das("compare", *map(str, folders))
    assert done.code == 0, done.err
    lines = [line for line in done.out.splitlines() if "1.000" in line]
    assert [line.count("1.000*") for line in lines] == [1, 1] or "1.000*" in done.out
    config = folders[1] / "subspace" / "das_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "task": "another"}))
    done = run_das("compare", *map(str, folders))
    assert "*" not in done.out.split("* the best")[0] and "do not compare" in done.out
