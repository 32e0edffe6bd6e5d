"""`das sweep` from the command line: a map, a table, the best site's subspace; finished ones are not overwritten."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

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
