"""What needs no model answers at once, and lists what there is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from das.cli.help import COMMANDS, groups
from das.cli.ls import describe

HEAVY = ("torch", "transformers", "pytorch_lightning", "hydra", "omegaconf", "datasets")


@pytest.mark.parametrize(
    "args", [["--help"], ["train", "--help"], ["steer", "-h"], ["ls"], ["ls", "tasks"], ["cache", "ls"], []], ids=str
)
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    code = f"import sys; from das.cli.main import main; code = main({args!r})\n"
    code += f"print([m for m in {HEAVY!r} if m in sys.modules], code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_help_lists_every_command_and_each_has_its_own(run_das: Callable) -> None:
    overview = run_das("--help").out
    for name in COMMANDS:
        assert name in overview
        done = run_das(name, "--help")
        assert done.code == 0 and f"das {name}" in done.out


def test_help_lists_choices_and_defaults(run_das: Callable) -> None:
    text = run_das("train", "--help").out
    for expected in ("counterfactual_ce", "cdas_name_gender", "n_train: 512", "run_dir:"):
        assert expected in text
    assert "_target_:" not in text


def test_ls_shows_every_yaml_with_a_description(run_das: Callable, root: Path) -> None:
    text = run_das("ls").out
    for group in groups():
        for file in (root / "conf" / group).glob("*.yaml"):
            assert file.stem in text and describe(file), file


def test_ls_takes_plurals_and_refuses_others(run_das: Callable) -> None:
    assert "name_gender" in run_das("ls", "tasks").out
    done = run_das("ls", "modles")
    assert done.code == 2 and "unknown group" in done.err and "model" in done.err


def test_a_yaml_without_a_comment_is_described_by_its_module(root: Path) -> None:
    assert describe(root / "conf/objective/jsd.yaml").startswith("Distribution matching: Jensen-Shannon")


def test_version(run_das: Callable) -> None:
    import das

    assert run_das("--version").out.strip() == das.__version__


def test_an_unknown_command_suggests_the_nearest(run_das: Callable) -> None:
    done = run_das("trian")
    assert done.code == 2 and not done.out
    assert done.err.startswith("error: unknown command") and "'train'" in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize("name", ["train", "eval", "steer"])
def test_scripts_are_the_same_commands(root: Path, name: str) -> None:
    command = [sys.executable, str(root / "scripts" / f"{name}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"das {name}:" in done.stdout


def test_sentences_are_not_cut(root: Path) -> None:
    assert describe(root / "conf/site/name.yaml") == "Every token of the name: read there, written there."
    assert describe(root / "conf/experiment/das_name_gender.yaml").endswith("(Geiger et al., arXiv 2303.02536).")
