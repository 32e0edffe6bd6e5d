"""What error messages look like: short, and readable from the command line as well as from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from das.errors import InputError, PositionError
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
