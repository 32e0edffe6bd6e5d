"""The README's section "Your own" as it is printed: a method and a part of it that live outside of the package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from das.artifacts.subspace import Subspace
from das.interventions import serial

OWN = ("--config-dir", "mine", "intervention=halfway")


@pytest.mark.usefixtures("own_folder")
def test_it_trains_and_steers(
    run_das: Callable, short: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    done = run_das("train", *OWN, *short, "intervention.share=0.8", f"run_dir={folder}", "logger=none")
    assert done.code == 0, done.err
    found = Subspace.load(folder / "subspace").interventions[0]
    assert found.name == "halfway" and found.edit.params() == {"share": 0.8}
    # another process knows neither the module nor the part
    monkeypatch.setattr(serial, "_registered", {})
    monkeypatch.delitem(sys.modules, "halfway")
    args = ("steer", f"subspace={folder}", "prompt=There was a kind child named Tim. One day,", "max_new_tokens=2")
    done = run_das(*args)
    assert done.code == 2 and "unknown edit in an artifact" in done.err and "imports=[MODULE]" in done.err
    done = run_das(*args, "imports=[halfway]")
    assert done.code == 0 and "steered (factor +1)" in done.out


def test_mistakes_in_it_are_told_in_plain_words(run_das: Callable, short: tuple[str, ...], own_folder: Path) -> None:
    assert "did you mean 'share'" in run_das("validate", *OWN, *short, "intervention.shaer=1").err.lower()
    assert "--config-dir needs a folder" in run_das("validate", "--config-dir", "nowhere").err
    assert "no 'nope' in halfway" in run_das("validate", *OWN, *short, "intervention._target_=halfway.nope").err
    (own_folder / "broken.py").write_text("import not_there_at_all\n")
    done = run_das("validate", *OWN, *short, "intervention._target_=broken.f")
    assert "Importing broken fails: No module named 'not_there_at_all'" in done.err
    done = run_das("validate", *OWN, *short, "intervention._target_=nowhere.f")
    assert done.code == 2 and "No module 'nowhere' lies on PYTHONPATH" in done.err
    assert "No module 'nowhere'" in run_das("steer", "subspace=x", "prompt=x", "imports=[nowhere]").err
    assert "imports must be a list" in run_das("steer", "subspace=x", "prompt=x", "imports=halfway").err
