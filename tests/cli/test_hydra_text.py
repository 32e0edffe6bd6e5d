"""Whatever is typed as a prompt is what the program sees: against hydra's own parser and OmegaConf's own resolver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from das.cli.hydra_text import FREE_TEXT, PATH_LIKE, quote_override, quote_overrides

AWKWARD = [
    "", " ", "  both ends  ", "\t", "a\nb\n", "\n", "a, b", "a,b,c", "key=value", "a: b", "(a)", "choice(a,b)", "[a,b]",
    "{a: b}", "{", "}", "'", '"', "''", "'\"'", "it's", '"a, b"', "'a, b'", "\\", "\\\\", "\\'", '\\"', "\\\\'", "x\\",
    "'\\", "\\'\\", "${", "${}", "${oc.env:HOME}", "\\${a}", "\\\\${a}", "$${a}", "${a}'${b}\\", "'${", "\\'${", "}${{",
    "${a:'b'}", "$", "\\$", "null", "NULL", "true", "1", "1e5", "007", "1_000", "nan", "-inf",
    "naïve — “quoted” 日本 🙂", "~", "+x", "--flag", "???", "%s", "#", "a\x00b", "\ud800",
]  # fmt: skip
# Arbitrary text rarely holds the characters that matter next to each other; this does.
NASTY = st.text(alphabet="\\'\"${},:=()[] \n\tab1é", max_size=24)
TEXT = st.one_of(NASTY, st.text(max_size=60), st.text(st.characters(), max_size=20))


def parsed(arg: str) -> Override:
    return OverridesParser.create().parse_override(arg)


def resolved(arg: str, key: str) -> Any:
    return OmegaConf.create({key: parsed(arg).value()})[key]


@given(text=TEXT, plus=st.sampled_from(["", "+", "++"]))
def test_a_prompt_arrives_exactly_as_typed(text: str, plus: str) -> None:
    override = parsed(quote_override(f"{plus}prompt={text}"))
    assert override.key_or_group == "prompt" and not override.is_sweep_override()
    assert (override.is_add(), override.is_force_add()) == (plus == "+", plus == "++")
    assert OmegaConf.create({"prompt": override.value()})["prompt"] == text


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_awkward_prompts(text: str) -> None:
    assert resolved(quote_override(f"prompt={text}"), "prompt") == text


@given(text=TEXT)
def test_a_prompt_survives_the_sweeper(text: str) -> None:
    """A multirun renders each override back to text and parses that again in every job."""
    once = parsed(quote_override(f"prompt={text}", sweep=True))
    assert resolved(f"{once.get_key_element()}={once.get_value_element_as_str()}", "prompt") == text


@given(text=TEXT, key=st.sampled_from(sorted(PATH_LIKE)))
@example(text="runs/Smith, J (2)/é=1", key="out").via("an ordinary awkward path")
@example(text="1e5", key="out").via("a number")
@example(text="True", key="run_dir").via("a boolean")
@example(text="a\\ b", key="out").via("a backslash")
@example(text="x'y", key="out").via("one quote")
@example(text="a,b", key="subspace").via("a comma")
@example(text="\n", key="out").via("only whitespace")
def test_a_path_arrives_exactly_as_typed_unless_it_means_something(text: str, key: str) -> None:
    arg = quote_override(f"{key}={text}")
    if arg == f"{key}={text}" and (
        text.lower() == "null" or text == "???" or "${" in text or text[:1] in ("'", '"', "[")
    ):
        return
    assert resolved(arg, key) == text


@pytest.mark.parametrize(
    "arg",
    [
        "factor=1,-1", "+factor=range(1,3)", "site.layer=2", "experiment=cdas", "~prompt", "prompt", "--multirun", "-m",
        "--config-name=prompt", "xprompt=a, b", "model.prompt={a: 1}", "out=runs/x-1.2/a b", "out=", "out=null",
        "out=${run_dir}/x, y", "prompts=file.txt", "out='a, b'", 'out="a \\" b"', "subspace=[a,b]",
    ],
)  # fmt: skip
def test_what_is_not_free_text_is_left_alone(arg: str) -> None:
    assert quote_override(arg) == arg


@pytest.mark.parametrize("arg", ["subspace=runs/a,runs/b", "subspace=glob(*)", "out=choice(a,b)"])
def test_paths_are_swept_only_in_a_multirun(arg: str) -> None:
    assert quote_override(arg, sweep=True) == arg
    key, text = arg.split("=", 1)
    assert resolved(quote_override(arg), key) == text


@pytest.mark.parametrize("text", [t for t in AWKWARD if t.isprintable()], ids=ascii)
def test_through_a_whole_hydra_config(tmp_path: Path, text: str) -> None:
    """Hydra also keeps the overrides as strings in its own config, where a bare `${` would be resolved."""
    (tmp_path / "main.yaml").write_text("prompt: x\nout: y\nderived: <${prompt}>\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        config = compose("main", quote_overrides([f"prompt={text}"]), return_hydra_config=True)
    assert config.prompt == text
    assert text == "???" or config.derived == f"<{text}>"  # OmegaConf never interpolates its own marker
    assert OmegaConf.to_container(config.hydra.overrides, resolve=True)


def test_every_key_is_one_hydra_can_parse() -> None:
    for key in FREE_TEXT | PATH_LIKE:
        assert parsed(quote_override(f"{key}=a (b)")).key_or_group == key


def test_importing_it_is_light() -> None:
    code = "import sys, das.cli.hydra_text; print({'torch', 'hydra', 'omegaconf'} & set(sys.modules) or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"
