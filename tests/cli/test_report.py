"""What a table of metrics is told to mean: baselines, doubts, what was left out, and what comes first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from das.cli.report import print_evaluation, summary
from das.tasks.name_gender import NameGender
from das.training.measure import SWAPPED

GOOD = {
    "iia": 0.9, "iia_changed": 0.875, "control/no_intervention/iia": 0.5, "control/no_intervention/iia_changed": 0.125,
    "model/accuracy": 0.95, "data/labels": "she, he",
}  # fmt: skip


def test_flips_stand_beside_what_the_model_does_untouched() -> None:
    assert summary(GOOD) == ["flipped, of the pairs whose label changes: 88% by this subspace, 12% by nothing at all"]


def test_doubts_are_said() -> None:
    assert "only 60% of the pairs rightly" in summary({**GOOD, "model/accuracy": 0.6})[1]
    assert "flips as many" in summary({**GOOD, "control/no_intervention/iia_changed": 0.875})[1]


def test_what_numbers_rest_on_is_said() -> None:
    few = summary({**GOOD, "data/test_pairs": 3, "data/dropped/file/entity": 87, "data/dropped/test/model": 0})
    assert few[1].startswith("measured on 3 test pairs; with fewer") and few[2] == "rows left out: 87 of file/entity"
    assert summary({**GOOD, "data/test_pairs": 64})[1] == "measured on 64 test pairs"
    pushed = {"iia_full_vocab_changed": 1.0, "control/full_vector/iia_full_vocab_changed": 0.0}
    assert any("goes beyond the full-vector swap" in line for line in summary({**GOOD, **pushed}))


def test_a_closed_form_is_not_rewarded_for_anything() -> None:
    shuffled = {**GOOD, "control/shuffled_labels/iia_changed": 0.5}
    assert any("still reward" in line for line in summary(shuffled))
    assert not any("still reward" in line for line in summary(shuffled, learned=False))


@pytest.mark.parametrize("swapped", [True, False])
def test_what_reads_no_source_is_led_by_its_steering(swapped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = {"flipped": 1.0, "unsteered": 0.0, "words": 7.0, "perplexity_ratio": 1.1}
    steered = {f"steer/to_{way}/{k}": v for way in ("positive", "negative") for k, v in numbers.items()}
    more = {SWAPPED: "x reads no source"} if swapped else {}
    print_evaluation({**GOOD, **steered, **more}, NameGender(), 1.0, True)
    out = capsys.readouterr().out
    assert (out.index("steered towards") < out.index("this subspace")) == swapped
    assert ("(x reads no source)" in out) == swapped


def test_methods_say_how_they_steer_before_they_are_trained(short: tuple[str, ...], run_das: Callable) -> None:
    for name, expected in (
        ("das", "das steers by clamp, takes factors but 0"), ("loreft", "loreft steers by as_trained, takes positive"),
        ("diff_means", "diff_means steers by as_trained, takes any factor"),
    ):  # fmt: skip
        done = run_das("validate", *short, f"intervention={name}")
        assert expected in done.out, done.err or done.out


def test_a_closed_form_says_what_it_was_fitted_on(short: tuple[str, ...], run_das: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run_das(
        "train",
        *short,
        "intervention=diff_means",
        "controls.names=[no_intervention]",
        f"run_dir={folder}",
        "logger=none",
    )
    assert done.code == 0, done.err
    assert "estimated from 8 prompts" in done.out  # data.n_contrast=4, both values
    told = (folder / "metrics.json").read_text()
    assert '"data/train_prompts_fitted": 8' in told and "data/train_rows" not in told and f'"{SWAPPED}"' in told
    evaluated = run_das("eval", f"subspace={folder}", "steering.n=0").out
    assert "diff_means reads no source" in evaluated and "train/steps" not in evaluated
