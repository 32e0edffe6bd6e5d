"""Every `das` line of the README composes; what it shows of `das show` is what `das show` prints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from das.cli.help import COMMANDS

README = (Path(__file__).parents[2] / "README.md").read_text()
BASH = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL))
LINES = re.findall(r"^das .*", BASH, re.MULTILINE)


def test_there_is_a_line_for_every_command() -> None:
    assert {line.split()[1] for line in LINES} | {"demo"} == set(COMMANDS)


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line.split("#")[0].split()))
@pytest.mark.usefixtures("own_folder")
def test_it_composes(line: str, run_das: Callable) -> None:
    _, command, *args = shlex.split(line, comments=True)
    if command in ("ls", "cache"):
        assert run_das(command, *args).code == 0
        return
    if "-m" in args:  # the first job of a multirun
        args = [arg.split(",")[0] for arg in args if arg != "-m"]
    done = run_das(command, *args, "--cfg", "job")
    assert done.code == 0, done.err
    config = yaml.safe_load(done.out)
    for key, _, value in (arg.partition("=") for arg in args if "=" in arg):
        if key in ("prompt", "subspace", "run_dir", "out", "model.path"):
            section, _, name = key.rpartition(".")
            assert (config[section] if section else config)[name] == value
    if command == "train" and "model=hf" not in args:
        done = run_das("validate", *args)
        assert done.code == 0, done.err


def test_what_das_show_prints(run_das: Callable) -> None:
    [shown] = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    printed = run_das("show", "n=2").out
    assert [line for line in printed.splitlines() if line] == shown.splitlines()
