"""Every mistake is one line, exit code 2, before weights are loaded, and leaves nothing behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from das.cli import build
from das.errors import NonFiniteLossError

MISTAKES = {
    "task=x": ("unknown task", "name_gender"),
    "intervention=dass": ("unknown intervention", "'das'", "random_subspace"),
    "objective=jsdd": ("unknown objective", "'jsd'", "counterfactual_ce"),
    "site=nowhere": ("unknown site", "last"),
    "metric=[iia,nope]": ("unknown metric", "logit_difference"),
    "experiment=nope": ("unknown experiment", "das_name_gender"),
    "trainer.max_step=3": ("unknown setting of trainer", "'max_steps'"),
    "sed=3": ("unknown setting", "'seed'"),
    "site.layer=9": ("layer", "0 to 1"),
    "site.layer=x": ("site.layer", "integer"),
    "site.component=block_ouput": ("unknown component", "'block_output'"),
    "site.heads=[0]": ("heads",),
    "intervention.rank=33": ("rank", "33"),
    "site.positions=foo": ("unknown position", "span:NAME"),
    "site.positions=span:animal": ("span 'animal'",),
    "site.positions=index:99": ("out of range",),
    "steering.positions=foo": ("unknown position",),
    "controls.wrong_positions=foo": ("unknown position",),
    "controls.names=[foo]": ("unknown control", "wrong_site"),
    "data.n_test=0": ("data.n_test", "at least 1"),
    "trainer.max_steps=0": ("max_steps",),
    "optimizer.lr=-1.0": ("learning rate",),
    "task.names_per_split={train: 14, val: 6, test: 0}": ("too few",),
    "task.adjectives=[]": ("name_gender cannot be built",),
    "model.path=./nowhere": ("no such directory",),
    "data.padding_side=top": ("unknown padding side",),
    "seed=": ("seed",),
    "=3": ("cannot be composed",),
    "trainer.max_steps": ("KEY=VALUE",),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_before_any_weights(
    mistake: str, short: tuple[str, ...], tmp_path: Path, run_das: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(chosen: build.ModelSettings) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(build, "model", loaded)
    folder = tmp_path / "run"
    done = run_das("train", *short, f"run_dir={folder}", mistake)
    assert done.code == 2, done
    assert done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    for part in MISTAKES[mistake]:
        assert part in done.err
    assert not folder.exists()


def test_validate_and_show_refuse_the_same(short: tuple[str, ...], run_das: Callable) -> None:
    for command in ("validate", "show"):
        done = run_das(command, *short, "site.layer=7")
        assert done.code == 2 and "0 to 1" in done.err


def test_a_context_that_is_too_short(
    random_model: Path, tmp_path: Path, short: tuple[str, ...], run_das: Callable
) -> None:
    import json
    import shutil

    small = tmp_path / "small"
    shutil.copytree(random_model, small)
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 12}))
    done = run_das("validate", *short, f"model.path={small}")
    assert done.code == 2 and "context is 12" in done.err


def test_missing_values(run_das: Callable, tmp_path: Path) -> None:
    assert "subspace" in run_das("eval").err
    assert "model.path" in run_das("validate", "model=hf").err
    assert "no subspace here" in run_das("steer", f"subspace={tmp_path}", "prompt=x").err
    assert "prompt" in run_das("steer", f"subspace={tmp_path}").err


def test_a_nan_has_an_exit_code_of_its_own(run_das: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    import das.cli.ls

    def broken(args: list[str]) -> int:
        raise NonFiniteLossError("the loss is not finite")

    monkeypatch.setattr(das.cli.ls, "command", broken)
    assert run_das("ls").code == 3


def test_debug_shows_the_traceback(run_das: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from das.errors import UnknownChoiceError

    monkeypatch.setenv("DAS_DEBUG", "1")
    with pytest.raises(UnknownChoiceError):
        run_das("trian")
    assert logging.getLogger("pytorch_lightning").level >= 0
