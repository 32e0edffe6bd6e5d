"""A method that takes no factor and chooses its own sites: every command says so, and none is silent about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from das.artifacts.subspace import Subspace
from das.training import trial

ABLATION = (
    "intervention=directional_ablation", "intervention.min_induced=-1000", "intervention.max_kl=1000", "logger=none",
    "site.component=block_input",
)  # fmt: skip


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory, short: tuple[str, ...], run_das: Callable) -> tuple[Path, str]:
    """A run of directional ablation, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "ablated"
    done = run_das("train", *short, *ABLATION, f"run_dir={folder}")
    assert done.code == 0, done.err
    return folder, done.out


@pytest.mark.parametrize(
    ("name", "site", "module"),
    [
        ("directional_ablation", "block_input", "model.layers.1"),
        ("iti", "head_attention_value_output", "model.layers.0"),
        ("rosi", "block_input", "model.layers.1.mlp"),
    ],
)
def test_methods_that_choose_their_sites_can_be_validated(
    name: str, site: str, module: str, short: tuple[str, ...], run_das: Callable
) -> None:
    done = run_das("validate", *short, f"site.component={site}", "site.positions=last", f"intervention={name}")
    assert done.code == 0, done.err
    assert name in done.out and module in done.out


def test_what_is_missing_is_said_on_the_screen(ablated: tuple[Path, str]) -> None:
    folder, printed = ablated
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "takes no factor" in metrics["steer/not_measured"]
    assert f"steering not measured: {metrics['steer/not_measured']}" in printed
    [(key, reason)] = [
        (key, value) for key, value in metrics.items() if key.startswith("control/") and key.endswith("not_measured")
    ]
    assert key == "control/wrong_site/not_measured" and f"left out: wrong site: {reason}" in printed
    [row] = [line for line in printed.splitlines() if "│ wrong site" in line]
    assert row.count(" - ") >= 4


def test_no_factor_is_no_factor(ablated: tuple[Path, str], run_das: Callable, tmp_path: Path) -> None:
    folder, out = ablated[0], tmp_path / "s.json"
    args = ("steer", f"subspace={folder}", "prompt=Tim ran.", "max_new_tokens=2")
    done = run_das(*args, f"out={out}")
    assert done.code == 0 and "steered (as_trained)" in done.out and "(factor" not in done.out
    assert json.loads(out.read_text())["factor"] is None and json.loads(out.read_text())["op"] == "as_trained"
    for factor in (1, -1):
        done = run_das(*args, f"factor={factor}")
        assert done.code == 2 and "has no factor" in done.err and "Leave factor out" in done.err
    card = (folder / "subspace" / "README.md").read_text()
    assert "sets its coordinates to zero, and takes no factor" in card
    assert "das.steer(model, subspace) as" in card and "Clamping" not in card


def test_the_card_of_what_clamps_still_tells_of_factors(trained: Path) -> None:
    card = (trained / "subspace" / "README.md").read_text()
    assert "Clamping with factor +1" in card and "das.steer(model, subspace, factor=1)" in card


def test_a_task_without_a_concept_to_steer_says_so(trained: Path, run_das: Callable, tmp_path: Path) -> None:
    names = {"val": ("Tim", "Lily"), "test": ("Tom", "Sue")}
    rows = [
        {
            "base": f"[[{a}]] ran.",
            "source": f"[[{b}]] ran.",
            "base_label": " he",
            "counterfactual_label": " she",
            "split": s,
        }
        for s, (a, b) in names.items()
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    task = ("task=pairs", f"task.path={tmp_path / 'pairs.json'}", "task.mark=name")
    done = run_das(
        "eval", f"subspace={trained}", *task, "controls.names=[no_intervention]", f"out={tmp_path / 'e.json'}"
    )
    assert done.code == 0, done.err
    reason = json.loads((tmp_path / "e.json").read_text())["steer/not_measured"]
    assert "no concept with two values" in reason and f"steering not measured: {reason}" in done.out


def test_python_takes_the_folder_of_a_run_too(trained: Path, tmp_path: Path) -> None:
    assert (Subspace.load(trained).basis() == Subspace.load(trained / "subspace").basis()).all()
    with pytest.raises(ValueError, match="folder of a finished run"):
        Subspace.load(tmp_path)


def test_a_long_selection_is_not_silent(
    short: tuple[str, ...], run_das: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TOLD_EVERY", 0.0)
    few = ("steering.n=0", "controls.names=[]", f"run_dir={tmp_path / 'run'}")
    done = run_das("train", *short, *ABLATION, *few)
    assert done.code == 0 and "candidate 1 tried on layer 0 block_input" in done.err, done.err
