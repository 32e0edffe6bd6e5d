"""Settings of a wrong type: found by the type hints of what they are for, named by their full key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from das.cli import build
from das.cli.typed import check_value, checked_arguments
from das.errors import ConfigError, UnknownChoiceError
from das.training.loop import TrainerSettings
from das.training.optim import AdamW

MISTAKES = {
    "intervention.rank=1.5": "intervention.rank must be an integer. Got 1.5.",
    "intervention.rank=two": "intervention.rank must be an integer. Got 'two'.",
    "intervention.rank=true": "intervention.rank must be an integer. Got True.",
    "optimizer.lr=abc": "optimizer.lr must be a number. Got 'abc'.",
    "optimizer.betas=[0.9]": "optimizer.betas must be a list of 2 values. Got [0.9].",
    "optimizer.schedule=liner": "unknown value of optimizer.schedule. Got 'liner'. Did you mean 'linear'?",
    "optimizer.clip=-1": "optimizer.clip must not be negative",
    "optimizer.weight_decay=-1": "optimizer.weight_decay must not be negative",
    "optimizer.betas=[2,3]": "the optimizer cannot be built",
    "trainer.batch_size=abc": "trainer.batch_size must be an integer. Got 'abc'.",
    "trainer.max_steps=1e3": "trainer.max_steps must be an integer. Got 1000.0.",
    "trainer.val_every=-1": "trainer.val_every must not be negative. Got -1.",
    "trainer.tier=fast": "unknown value of trainer.tier",
    "trainer.tier=3": "trainer.tier must be",
    "+trainer.extra.max_epoch=3": "Did you mean 'min_epochs'?",
    "data.filter_correct=maybe": "data.filter_correct must be true or false. Got 'maybe'.",
    "data.system=5": "data.system must be a text or null. Got 5.",
    "controls.names=wrong_site": "controls.names must be a list. Got 'wrong_site'.",
    "task.names_per_split.train=many": "task.names_per_split.train must be an integer. Got 'many'.",
    "site.tied=maybe": "site.tied must be true or false. Got 'maybe'.",
    "site.component=3": "site.component must be a text. Got 3.",
    "site.heads=[a]": "site.heads must be a list or null. Got ['a'].",
    "seed=1.5": "seed must be an integer. Got 1.5.",
    "model.dtype=[a]": "model.dtype must be a text or null. Got ['a'].",
    "intervention._target_=das.nowhere.at_all": "intervention._target_ cannot be imported. Got das.nowhere.at_all.",
    "intervention._partial_=false": "needs `_partial_: true`",
    "intervention=null": "Config group override must be a string or a list",
    "objective._target_=null": "objective does not say what to build",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_settings_are_one_line(
    mistake: str, short: tuple[str, ...], tmp_path: Path, run_das: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "model", lambda chosen: pytest.fail("weights were loaded"))
    done = run_das("train", *short, f"run_dir={tmp_path / 'run'}", mistake)
    assert done.code == 2 and done.err.count("\n") == 1 and MISTAKES[mistake] in done.err, done
    assert "HYDRA_FULL_ERROR" not in done.err and not (tmp_path / "run").exists()


def test_the_defaults_of_what_yaml_builds_pass() -> None:
    for kind in (TrainerSettings, AdamW):
        assert checked_arguments(kind, vars(kind()), "x") == vars(kind())


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int), (1, float), (0.5, float), ("x", str), (None, int | None), ("a", Literal["a", "b"]),
        ("a", Literal["a"] | Literal["b"] | None), ((1, 2), tuple[int, ...]), ((), Sequence[int]),
        ([1, 2.0], tuple[int, float]), ({"a": 1}, Mapping[str, int]), ({"a": 1}, str | Mapping[str, int]),
        (object(), Any), (3, Path), ((None, 1), tuple[int | None, ...]),
    ],
)  # fmt: skip
def test_what_fits(value: Any, hint: Any) -> None:
    check_value(value, hint, "key")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int), (True, float), ("1", int), (1, bool), (1, str), ("c", Literal["a", "b"]), (3, Literal["a"] | None),
        ((1, "x"), tuple[int, ...]), ((1,), tuple[int, int]), (3, Sequence[int]), ({"a": "b"}, Mapping[str, int]),
        ("ab", Sequence[str]),
    ],
)  # fmt: skip
def test_what_does_not_fit(value: Any, hint: Any) -> None:
    with pytest.raises((ConfigError, UnknownChoiceError), match="key"):
        check_value(value, hint, "key")


def test_what_cannot_be_inspected_is_left_alone() -> None:
    assert checked_arguments(dict, {"a": 1}, "x") == {"a": 1}
    assert checked_arguments(lambda a: a, {"a": 1}, "x") == {"a": 1}


def test_integers_become_floats_where_a_float_is_wanted() -> None:
    found = checked_arguments(AdamW, {"lr": 1, "betas": (0, 0.5), "clip": 2.0}, "optimizer")
    assert [type(v) for v in (found["lr"], *found["betas"], found["clip"])] == [float] * 4
    assert type(checked_arguments(TrainerSettings, {"max_steps": 3}, "trainer")["max_steps"]) is int
