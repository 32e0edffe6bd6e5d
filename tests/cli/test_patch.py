"""`das patch` on a random model: what it writes, what it prints, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_patch_writes_what_it_prints(random_model: Path, run_das: Callable, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    done = run_das("patch", "model=hf", f"model.path={random_model}", "n=8", "windows=[2]", f"out={out}")
    assert done.code == 0, done.err
    found = json.loads(out.read_text())
    rows = {(tuple(r["layers"]), r["positions"]): r for r in found["rows"]}
    assert set(rows) == {(layers, p) for layers in ((0,), (1,), (0, 1)) for p in ("span:name", "last")}
    assert rows[(1,), "last"]["ld"] == pytest.approx(1.0, abs=1e-4)  # all of the last layer
    assert rows[(0, 1), "last"]["ld"] == pytest.approx(1.0, abs=1e-4)
    assert found["direction"] == "denoising" and found["task"] == "name_gender" and "das patch" in found["command"]
    assert f"{rows[(0,), 'last']['ld']:.3f}" in done.out and "sum of LD" in done.out and f"written to {out}" in done.out


def test_single_heads_noise_and_each_token(random_model: Path, run_das: Callable) -> None:
    model = ("model=hf", f"model.path={random_model}", "n=4", "layers=[1]")
    heads = ("components=[head_attention_value_output]", "heads=true", "positions=last", "direction=noising")
    done = run_das("patch", *model, *heads, 'noise="span:name"')
    assert done.code == 0, done.err
    assert "head 3" in done.out and "head 4" not in done.out and "noising" in done.out
    assert "corrupted by noise of 3 standard deviations at span:name" in done.out
    done = run_das("patch", *model, "positions=each")
    assert done.code == 0 and "index:0" in done.out and "the source's tokens" in done.out


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("layers=[7]", "layer does not exist"),
        ("direction=back", "direction of patching"),
        ("heads=true", "heads"),
        ("n=0.5", "n must be an integer"),
    ],
)
def test_what_patch_refuses(random_model: Path, run_das: Callable, override: str, words: str) -> None:
    done = run_das("patch", "model=hf", f"model.path={random_model}", *([] if "n=" in override else ["n=8"]), override)
    assert done.code == 2 and words in done.err


@pytest.mark.parametrize("command", [("patch",), ("eval", "subspace=x")], ids=str)
def test_tasks_that_read_files_compose(command: tuple[str, ...], run_das: Callable) -> None:
    done = run_das(*command, "task=pairs", "task.path=x.csv", "--cfg", "job", "--resolve")
    assert done.code == 0, done.err
