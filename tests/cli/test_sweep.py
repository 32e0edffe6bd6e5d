"""`das sweep` from the command line: a map, a table, the best site's subspace; finished ones are not overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from das.tasks.name_gender import NameGender

SMALL = ("data.n_train=16", "data.n_val=8", "data.n_test=8", "data.n_contrast=4", "trainer.max_steps=2",
         "trainer.batch_size=8", "logger=none", "controls.names=[no_intervention]")  # fmt: skip


@pytest.fixture(scope="module")
def swept(run_das, random_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "run"
    where = ("model=hf", f"model.path={random_model}", 'grid.positions=[last,"span:name"]', f"run_dir={folder}")
    return run_das("sweep", *where, *SMALL), folder, where


def test_everything_is_in_the_run_folder(swept):
    done, folder, _ = swept
    assert done.code == 0, done.err
    table = pq.read_table(folder / "cells.parquet").to_pylist()
    assert {(row["layer"], row["positions"]) for row in table} == {
        (n, p) for n in (0, 1) for p in ("last", "span:name")
    }
    assert {"iia_changed", "full_vector/iia_changed", "random_subspace/iia_changed", "text"} <= set(table[0])
    metrics = json.loads((folder / "metrics.json").read_text())
    best = max(table, key=lambda row: row["iia_changed"])
    assert metrics["sweep/best/layer"] == best["layer"] and metrics["sweep/cells"] == 4
    assert (folder / "heatmap.png").stat().st_size > 1000 and (folder / "subspace" / "das_config.json").is_file()
    assert "best position" in done.out and "interchange intervention accuracy" in done.out
    assert "heatmap.png" in done.out


def test_a_finished_sweep_is_left_alone(swept, run_das):
    _, folder, where = swept
    before = (folder / "cells.jsonl").read_text()
    again = run_das("sweep", *where, *SMALL)
    assert again.code == 2 and "finished run" in again.err and (folder / "cells.jsonl").read_text() == before


def marked(prompt, *also: str) -> str:
    """With its name in brackets, and other words too."""
    text = prompt.text
    for word in {prompt.text[start:end] for start, end in prompt.spans["name"]} | {*also}:
        text = text.replace(word, f"[[{word}]]")
    return text


def test_rows_of_a_file_that_lack_a_position_of_the_map(run_das, random_model, tmp_path: Path):
    """One base marks a word more than its source: at a span the two cannot be aligned."""
    rows = [
        {"base": marked(p.base, *(["Once"] if i == 2 else [])), "source": marked(p.sources["source"]), "split": split,
         "base_label": p.base_label, "counterfactual_label": p.counterfactual_label, "entity": sorted(p.entities)}
        for split in ("train", "val", "test") for i, p in enumerate(NameGender().pairs(split, 8, 0))
    ]  # fmt: skip
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = ("model=hf", f"model.path={random_model}", "task=pairs", f"task.path={file}", "grid.layers=[0]",
             'grid.positions=[last,"span:mark"]')  # fmt: skip
    strict = run_das("sweep", *where, *SMALL, f"run_dir={tmp_path / 'strict'}")
    assert strict.code == 2 and "mine.jsonl, row 3: " in strict.err and "data.strict=false" in strict.err
    loose = run_das("sweep", *where, *SMALL, "data.strict=false", f"run_dir={tmp_path / 'run'}")
    assert loose.code == 0, loose.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    dropped = {k.removeprefix("sweep/dropped/"): v for k, v in metrics.items() if k.startswith("sweep/dropped/")}
    assert dropped == {"train/position": 1, "val/position": 1}
