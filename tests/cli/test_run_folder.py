"""Refuse, resume or start: a run folder is never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from das.cli.run_folder import CONFIG, METRICS, claim, differences, remove_if_empty, write_json
from das.errors import RunExistsError

SETTINGS = {"seed": 0, "site": {"layer": 2}, "logger": {"save_dir": "runs/a"}, "run_dir": "runs/a", "extra": {}}


def started(folder: Path, config: dict = SETTINGS) -> Path:
    folder.mkdir()
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    return folder


def test_a_folder_that_is_not_there_or_empty_is_fresh(tmp_path: Path) -> None:
    assert not claim(tmp_path / "new", SETTINGS)
    assert not claim(tmp_path, SETTINGS)


def test_a_finished_run_is_refused_whatever_its_settings(tmp_path: Path) -> None:
    folder = started(tmp_path / "a")
    (folder / METRICS).write_text("{}")
    with pytest.raises(RunExistsError, match="finished"):
        claim(folder, SETTINGS)


def test_an_unfinished_run_goes_on_with_equal_settings(tmp_path: Path) -> None:
    moved = {**SETTINGS, "run_dir": "elsewhere", "logger": {"save_dir": "elsewhere"}}
    assert claim(started(tmp_path / "a"), moved)


def test_an_unfinished_run_with_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunExistsError, match=r"site\.layer \(2 -> 3\)"):
        claim(started(tmp_path / "a"), {**SETTINGS, "site": {"layer": 3}})


def test_a_lone_subspace_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "subspace").mkdir()
    with pytest.raises(RunExistsError, match="holds a subspace"):
        claim(tmp_path, SETTINGS)


def test_differences_name_added_and_removed_keys() -> None:
    assert differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"d": 2}}) == {
        "b.c": (2, "(absent)"),
        "b.d": ("(absent)", 2),
    }
    assert differences({"trainer": {"progress": True}}, {"trainer": {"progress": False}}) == {}


def test_json_is_sorted_complete_and_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "m.json", {"b": float("nan"), "a": 1})
    text = (tmp_path / "deep" / "m.json").read_text()
    assert json.loads(text) == {"a": 1, "b": None} and text.index('"a"') < text.index('"b"')
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["m.json"]


def test_only_empty_folders_are_removed(tmp_path: Path) -> None:
    folder = started(tmp_path / "a")
    remove_if_empty(folder)
    assert folder.exists()
    (tmp_path / "b").mkdir()
    remove_if_empty(tmp_path / "b")
    remove_if_empty(tmp_path / "never was")
    assert not (tmp_path / "b").exists()
