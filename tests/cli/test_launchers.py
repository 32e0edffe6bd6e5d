"""Multiruns whose jobs other processes run: the same folders, the same table, the same exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from itertools import product
from pathlib import Path

import pytest

from das.cli.elsewhere import RECORDS

PLUGINS = {"joblib": "hydra-joblib-launcher", "submitit_local": "hydra-submitit-launcher", "ray": "hydra-ray-launcher"}
SEEDS, TOO_MANY = (0, 1), 99


@pytest.mark.parametrize(("launcher", "ranks"), [("joblib", (1, TOO_MANY)), ("submitit_local", (1,)), ("ray", (1,))])
def test_jobs_in_other_processes(launcher: str, ranks: tuple[int, ...], short: tuple[str, ...], tmp_path: Path) -> None:
    if not any(metadata.distributions(name=PLUGINS[launcher])):
        pytest.skip(f"{PLUGINS[launcher]} is not installed: pip install -e '.[launchers,ray]'")
    folder, jobs = tmp_path / "many", list(enumerate(product(SEEDS, ranks)))
    (folder / RECORDS).mkdir(parents=True)
    (folder / RECORDS / "7.json").write_text("left by a crash")
    short = tuple(o if not o.startswith("model.path=") else o.replace("=", "='") + "'" for o in short)  # it has a comma
    args = (*short, "trainer.max_steps=5", "steering.n=0", "controls.names=[no_intervention]", "logger=none",
            f"run_dir={folder}", "seed=0,1", f"intervention.rank={','.join(map(str, ranks))}",
            f"hydra/launcher={launcher}")  # fmt: skip
    command = [sys.executable, "-m", "das.cli.main", "train", "-m", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # what tests check cannot be pickled
    assert done.returncode == (2 if TOO_MANY in ranks else 0), done.stderr
    assert f"{len(jobs)} jobs" in done.stdout and not (folder / RECORDS).exists()
    for job, (seed, rank) in jobs:
        swept = f"seed={seed}" + (f" intervention.rank={rank}" if len(ranks) > 1 else "")
        row = next(line for line in done.stdout.splitlines() if f"{job} │ {swept} " in line)
        file = folder / str(job) / "metrics.json"
        if rank == TOO_MANY:
            assert "failed" in row and not file.exists()
            assert f"error: job {job} failed: rank must lie between 1 and the site's width" in done.stderr
            continue
        found = json.loads(file.read_text())
        assert found["train/steps"] == 5 and found["seed"] == seed and f"{found['val/iia_changed']:.3f}" in row
        training = json.loads((folder / str(job) / "subspace" / "das_config.json").read_text())["training"]
        assert training["command"].startswith("das train -m ") and f"hydra/launcher={launcher}" in training["command"]
