"""`das cache`: what a run kept on disk is listed, used by the next run, and removed."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def kept(run_das: Callable, short: tuple[str, ...], tmp_path: Path) -> Callable[[str], dict]:
    """A training of that name without memory to keep anything in; its metrics."""

    def train(name: str, *more: str) -> dict:
        here = ("trainer.budget_gib=0", f"trainer.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / name}")
        done = run_das("train", *short, *here, "steering.n=0", "controls.names=[]", *more)
        assert done.code == 0, done.err
        return json.loads((tmp_path / name / "metrics.json").read_text())

    return train


def test_kept_listed_used_again_and_pruned(kept: Callable, run_das: Callable, tmp_path: Path) -> None:
    first, where = kept("one"), f"cache_dir={tmp_path / 'cache'}"
    assert first["engine/tier"] == "all" and "on disk" in first["engine/tier_reason"]
    again = kept("two")
    assert "earlier run" in again["engine/tier_reason"]
    assert {k: v for k, v in again.items() if "iia" in k} == {k: v for k, v in first.items() if "iia" in k}

    files = sorted((tmp_path / "cache" / "kept").glob("*.safetensors"))
    assert len(files) == 3, "training, test and validation pairs"
    listed = run_das("cache", "ls", where).out
    for file in files:
        assert re.search(rf"{file.name[:12]}.*name_gender.*(16|8).*all.*MiB.*0 m", listed)
    assert "3 kept, " in listed and "model (2)" in listed.replace("\n", "")

    old = time.time() - 5 * 86400
    os.utime(files[0], (old, old))
    assert "5 d" in run_das("cache", "ls", where).out
    assert "removed 0 kept" in run_das("cache", "prune", where, "older_than=6d").out
    assert "removed 1 kept" in run_das("cache", "prune", where, "older_than=100h").out and not files[0].exists()
    assert "removed 0 kept" in run_das("cache", "prune", where, "size=1GiB").out
    (tmp_path / "cache" / "kept" / "abc.123.part").write_bytes(b"x" * (3 << 20))
    freed = run_das("cache", "prune", where).out
    assert re.search(r"removed 2 kept, freed 3\.\d MiB, 3\.0 MiB of it unfinished files; 0 left", freed)
    assert not list((tmp_path / "cache" / "kept").iterdir())
    assert "0 kept, 0.0 MiB" in run_das("cache", "ls", where).out


def test_where_the_cache_is_changes_no_run(kept: Callable, run_das: Callable, tmp_path: Path) -> None:
    none = kept("none", "trainer.cache_gib=0")
    assert none["engine/tier"] == "hooks" and "no disk cache" in none["engine/tier_reason"]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("list",), "unknown action of das cache"),
        (("ls", "size=3"), "unknown setting of das cache ls"),
        (("prune", "size=much"), "size is not understood. Got much. Give for example size=10GiB"),
        (("prune", "older_than=3y"), "older_than is not understood"),
        (("prune", "size="), "size has no value"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(run_das: Callable, args: tuple[str, ...], said: str) -> None:
    done = run_das("cache", *args)
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1
