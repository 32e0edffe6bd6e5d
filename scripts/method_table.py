#!/usr/bin/env python
"""Writes the README's table of methods and list of objectives from the cards at the top of their modules.

    scripts/method_table.py            rewrites README.md between the markers
    scripts/method_table.py --check    exits with 1 where README.md is not up to date

Every yaml of the group is an entry; its card is the docstring of the module that its `_target_` names:

    NAME: what it is (paper, arXiv ID).

    Equation   h' = ...

Raises `SystemExit` for a card without a name or an equation.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
HEAD = ("name", "yaml", "equation", "paper")
#: One cell for each.
Row = tuple[str, str, str, str]


def updated(readme: str) -> str:
    """The README as the cards are now."""
    for group, written in (("intervention", table), ("objective", listing)):
        start, end = (f"<!-- {edge} of {group}s, by scripts/method_table.py -->" for edge in ("start", "end"))
        if readme.count(start) != 1 or readme.count(end) != 1:
            raise SystemExit(f"README.md needs these two lines once: {start} and {end}")
        before, _, rest = readme.partition(start)
        readme = f"{before}{start}\n{written(rows(group))}\n{end}{rest.partition(end)[2]}"
    return readme


def rows(group: str) -> list[Row]:
    """All choices of a group."""
    return [row(group, path) for path in sorted((ROOT / "conf" / group).glob("*.yaml"))]


def table(found: list[Row]) -> str:
    """As a markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ("---",) * len(HEAD), *found))


def listing(found: list[Row]) -> str:
    """As one line: name in yaml and paper."""
    named = [(yaml.replace("objective=", ""), source) for _, yaml, _, source in found]
    return "; ".join(f"{yaml} ({source})" if source else yaml for yaml, source in named) + "."


def row(group: str, path: Path) -> Row:
    """Name, yaml, equation and paper of one choice."""
    target = re.search(r"^_target_: *(\S+)\.\w+ *$", path.read_text(), re.MULTILINE)
    if target is None:
        raise SystemExit(f"{path} has no `_target_`")
    module = ROOT / Path(*target[1].split(".")).with_suffix(".py")
    card = ast.get_docstring(ast.parse(module.read_text())) or ""
    name, colon, _ = card.partition("\n")[0].partition(":")
    if not colon:
        raise SystemExit(f"{module}: the first line is not `NAME: what it is (paper)`")
    return name, f"`{group}={path.stem}`", f"`{equation(card, module)}`", paper(card)


def equation(card: str, module: Path | None = None) -> str:
    """The line of the card's equation that says what becomes of h; the first line where none does."""
    block = re.search(r"^Equation {3}(.*(?:\n {11}.*)*)", card, re.MULTILINE)
    if block is None:
        raise SystemExit(f"{module}: the card has no line that starts with `Equation   `")
    lines = [line.strip() for line in block[1].splitlines()]
    chosen = next((line for line in lines if "h'" in line), lines[0])
    without_remark = re.sub(r"^(.*?=.*?) {3,}.*", r"\1", chosen)
    return re.sub(r" {2,}", " ", without_remark).rstrip(",;").replace("`", "").replace("|", r"\|")


def paper(card: str) -> str:
    """What stands in parentheses at the end of the first line, arXiv numbers as links."""
    cited = re.search(r"\(([^()]*)\)\.?$", card.partition("\n")[0])
    return re.sub(r"\b(\d{4}\.\d{4,5})\b", r"[\1](https://arxiv.org/abs/\1)", cited[1]) if cited else ""


def main(args: list[str]) -> int:
    """Rewrite or check."""
    before = README.read_text()
    after = updated(before)
    if "--check" in args:
        return int(before != after)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
