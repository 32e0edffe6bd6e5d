"""What error messages look like: short, and readable from the command line as well as from Python."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import das.cli.train
from das.cli import build
from das.cli.program import program
from das.cli.progress import narrated
from das.cli.report import facts
from das.errors import InputError, PositionError, RowError
from das.tasks.sieve import tell
from das.types import Prompt


def test_a_long_value_loses_its_middle() -> None:
    text = str(InputError("x", got="a" * 200 + "b" * 200, remedy="r"))
    assert len(text) < 330 and "aaa [...] bbb" in text and text.endswith("R.")
    assert str(InputError("x", got="a" * 300)).count("a") == 300
    assert InputError("x", got="a" * 400).got == "a" * 400


@pytest.mark.parametrize(("text", "wrong"), [("Hi [[]].", "empty"), ("Hi [[ ]].", "empty"), ("[[A]] [[Tim", "closed")])
def test_broken_marks(text: str, wrong: str) -> None:
    with pytest.raises(PositionError, match=wrong):
        Prompt.from_marked(text)


def test_marks_may_hold_several_lines() -> None:
    assert Prompt.from_marked("Hi [[Tim\nTom]]").spans == {"mark": ((3, 10),)}


def test_a_missing_span_is_explained_for_the_command_line_too(trained: Path, run_das: Callable) -> None:
    done = run_das("steer", f"subspace={trained}", "prompt=Nobody here")
    assert done.code == 2 and done.err.endswith("Mark the words as [[...]] in the prompt, or choose other positions.\n")
    assert "steering.generate" not in done.err


def interrupted(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_says_how_to_go_on(
    short: tuple[str, ...], run_das: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a run"
    with monkeypatch.context() as patched:
        patched.setattr(build, "parts", interrupted)  # before anything was written
        done = run_das("train", *short, f"run_dir={folder}")
        assert (done.code, done.err) == (130, "Interrupted.\n") and not folder.exists()
    monkeypatch.setattr(das.cli.train, "fit", interrupted)
    done = run_das("train", *short, f"run_dir={folder}", "logger=none")
    assert done.code == 130 and f"'run_dir={folder}' goes on" in done.err.splitlines()[-1]
    done = run_das("steer", f"subspace={folder}", "prompt=x")
    assert done.code == 2 and "not finished" in done.err and f"run_dir='{folder}'" in done.err


def test_a_multirun_without_a_folder_ends_with_a_table(
    short: tuple[str, ...], run_das: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [o.replace("model.path=", "model.path='") + "'" if o.startswith("model.path=") else o for o in short]
    done = run_das("train", "-m", *given, "intervention.rank=1,99", "controls.names=[]", "logger=none", "steering.n=0")
    [folder] = (tmp_path / "runs").glob("*/*-sweep")
    assert (folder / "0" / "metrics.json").is_file() and not (folder / "1").exists()
    assert done.code == 2 and re.search(r"error: job 1 failed: .*rank 99", done.err)
    assert "intervention.rank=99" in done.out and "failed" in done.out
    assert re.search(r"^\d\d:\d\d:\d\d training: 4 steps", done.err, re.MULTILINE)  # nobody sees a progress bar


def test_rows_left_out_are_told_once_however_many_datasets_a_run_makes(capsys: pytest.CaptureFixture[str]) -> None:
    bad, worse = ([RowError(f"mine.csv, row {i}: x", got=1, remedy="y") for i in range(n)] for n in (9, 20))
    with narrated():
        for errors in (bad, worse, bad, worse[::-1]):
            tell(logging.getLogger("das.data"), errors)
    lines = [line.partition("left out: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [line[:15] for line in lines[:5]] == [f"mine.csv, row {i}" for i in range(5)]
    assert lines[5:] == [f"{n} rows in all: {n} rows for their row" for n in (9, 20)]


def test_several_values_need_a_multirun(run_das: Callable) -> None:
    done = run_das("train", "seed=0,1")
    assert done.code == 2 and "seed has several values" in done.err and "Add -m" in done.err


def test_a_path_as_model_is_told_where_it_belongs(run_das: Callable) -> None:
    assert "give model=hf model.path=/models/m." in run_das("train", "model=/models/m").err


def test_a_finished_run_names_what_can_be_done_with_it(
    trained: Path, short: tuple[str, ...], run_das: Callable
) -> None:
    done = run_das("train", *short, f"run_dir={trained}")
    assert "`das eval subspace=" in done.err and "`das steer subspace=" in done.err


def test_a_prompt_that_cannot_be_steered_is_named_by_its_line(trained: Path, run_das: Callable, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Tim ran.\n\nNobody here\n")
    done = run_das("steer", f"subspace={trained}", f"prompts={tmp_path / 'p.txt'}")
    assert done.code == 2 and "p.txt, line 3: " in done.err


def test_out_is_checked_first_and_loses_nothing(
    trained: Path, run_das: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("steer", f"subspace={trained}", "prompt=Tim ran.", "max_new_tokens=2")
    assert "out is a folder" in run_das(*args, f"out={tmp_path}").err

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    done = run_das(*args, f"out={tmp_path / 'o.json'}")
    assert done.code == 2 and "No space left" in done.err and "steered (factor +1)" in done.out


def test_a_logger_that_cannot_start(
    short: tuple[str, ...], run_das: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(cfg: object) -> None:
        raise RuntimeError("No API key configured. Use `wandb login`.\nTraceback ...")

    monkeypatch.setattr(build, "logger", refuse)
    done = run_das("train", *short, f"run_dir={tmp_path / 'r'}", "logger=wandb", "logger.offline=false")
    assert done.code == 2 and "Use `wandb login`. Give logger=csv" in done.err and not (tmp_path / "r").exists()


def test_the_program_is_called_as_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "some where" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program().endswith("-m das.cli.main")
    beside = tmp_path / "some where" / "das"
    beside.parent.mkdir()
    beside.write_text("#!/bin/sh\n")
    beside.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert program() == "'some where/das'" and program("wandb", "wandb").endswith("-m wandb")
    monkeypatch.setenv("PATH", str(beside.parent))
    assert program() == "das"


def test_waiting_threads_do_not_spin(root: Path, run_das: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert run_das("ls", "models").code == 0 and os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "export OMP_WAIT_POLICY" in (root / "Makefile").read_text()


def test_a_closed_form_has_no_steps_to_tell_of() -> None:
    assert facts({"train/steps": 0, "train/seconds": 0.0, "engine/tier": None}) == ""
    found = facts({"train/steps": 3, "train/seconds": 1.0, "engine/tier": "all"})
    assert found == "3 steps in 1.000 s; engine tier all"
