"""The README's first Python block runs as printed, and its tables are what the method cards say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("method_table", ROOT / "scripts" / "method_table.py")
assert spec is not None and spec.loader is not None
method_table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(method_table)


def test_the_example_runs(tmp_path, monkeypatch):
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    assert block.count("assert ") >= 3
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "runs" / "name-gender" / "das_config.json").is_file()


def test_the_tables_are_up_to_date():
    text = (ROOT / "README.md").read_text()
    assert method_table.updated(text) == text, "run scripts/method_table.py"


@pytest.mark.parametrize("group", ["intervention", "objective"])
def test_every_yaml_has_an_entry(group):
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        name, yaml, equation, _ = method_table.row(group, path)
        assert name and len(equation) > len("``") and equation.count("`") == 2
        assert yaml in text or f"`{path.stem}`" in text


def test_what_a_card_says():
    card = (
        "X: moves h (Y 2020, arXiv 2001.00001, 1999.12345).\n\nEquation   first a line,\n"
        "           training   h' = h + |v| `v`,   if it can    so it is\nTrained by `jsd` on contrasts"
    )
    assert method_table.equation(card) == r"training h' = h + \|v\| v"
    link = "[{0}](https://arxiv.org/abs/{0})".format
    assert method_table.paper(card) == f"Y 2020, arXiv {link('2001.00001')}, {link('1999.12345')}"
    assert method_table.paper("X: no paper (twice) here.") == ""


def test_a_card_that_lacks_something_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(method_table, "ROOT", tmp_path)
    (tmp_path / "x.yaml").write_text("_target_: pieces.f\n")
    for card, missing in (("no colon", "NAME"), ("X: does something", "Equation")):
        (tmp_path / "pieces.py").write_text(f'"""{card}"""\n')
        with pytest.raises(SystemExit, match=missing):
            method_table.row("intervention", tmp_path / "x.yaml")
    with pytest.raises(SystemExit, match="start of interventions"):
        method_table.updated("no markers")


def test_the_map_names_every_package():
    text = (ROOT / "das" / "README.md").read_text()
    packages = {p.parent.name for p in (ROOT / "das").glob("*/__init__.py")}
    assert not {name for name in packages if f"`{name}/`" not in text}
