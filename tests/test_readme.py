"""The README's Python block runs as printed, and its table of methods matches conf/."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_example_runs(tmp_path, monkeypatch):
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block.count("assert ") >= 3
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "name-gender" / "das_config.json").is_file()


def test_every_row_of_the_table_is_a_method():
    named = re.findall(r"`intervention=(\w+)[^|`]*` \|", (ROOT / "README.md").read_text())
    assert len(named) >= 4 and set(named) <= {p.stem for p in (ROOT / "conf" / "intervention").glob("*.yaml")}


def test_the_map_names_every_package():
    text = (ROOT / "das" / "README.md").read_text()
    packages = {p.parent.name for p in (ROOT / "das").glob("*/__init__.py")}
    assert not {name for name in packages if f"`{name}/`" not in text}
